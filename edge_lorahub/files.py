"""Files and folders: JSON with clear errors, digests, and outputs that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import BundleError, EdgeLorahubError, MissingPathError, NotWritableError, OutputExistsError

LFS_HEAD = b"version https://git-lfs"


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Compares a bundle's files with the digests of its manifest. Raises BundleError."""
    for name, digest in digests.items():
        if sha256(folder / name) != digest:
            raise BundleError(f"{folder / name}: not what the manifest says; export the bundle again")


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what git leaves where Git LFS was not installed."""
    with path.open("rb") as file:
        return file.read(len(LFS_HEAD)) == LFS_HEAD


def lfs_message(path: Path) -> str:
    return (
        f"{path}: a Git LFS pointer, not the tensors themselves; run `git lfs pull` in its repository, "
        "or download the file again"
    )


def read_json(path: Path, error: Callable[[str], EdgeLorahubError]) -> dict[str, Any]:
    """Reads a JSON object; what is wrong with it is raised as `error(message)`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingPathError(f"{path}: no such file") from None
    except (ValueError, UnicodeDecodeError, RecursionError) as problem:
        if is_lfs_pointer(path):
            raise error(lfs_message(path)) from problem
        raise error(f"{path}: not valid JSON ({problem})") from problem
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, got a {type(value).__name__}")
    return value


def check_output_folder(out: Path, *, force: bool, names: Sequence[str]) -> None:
    """Refuses an output folder that cannot be made, or that exists.

    With `force` an existing one may be overwritten if it is an older output: names are the files of one, the
    first of which must be there, and no other file may be: that would be somebody's data.
    """
    _check_writable(out)
    if not _is_there(out):
        return
    if not force:
        raise OutputExistsError(f"{out}: exists already; choose another folder, or overwrite it with --force")
    if out.is_dir() and not os.access(out, os.W_OK):
        raise NotWritableError(f"{out}: no permission to replace what is in it; choose another folder")
    if not out.is_dir():
        raise OutputExistsError(f"{out}: not a folder, and will not be overwritten; choose another name")
    found = {path.name for path in out.iterdir()}
    strange = sorted(found - set(names))
    if found and (strange or names[0] not in found):
        reason = f"it has {strange[0]}" if strange else f"it has no {names[0]}"
        raise OutputExistsError(
            f"{out}: will not be overwritten: {reason}, so it is not just an output of this command; "
            "choose another folder"
        )


def _check_writable(out: Path) -> None:
    """Says before the slow part that an output cannot be written."""
    parent = next(path for path in out.absolute().parents if path.exists())
    if not parent.is_dir():
        raise OutputExistsError(f"{out}: {parent} is a file, not a folder; choose another place")
    if not os.access(parent, os.W_OK):
        raise NotWritableError(f"{out}: no permission to write in {parent}; choose another place")


def check_output_file(out: Path) -> None:
    """Says before the slow part that a file cannot be written; one that exists is overwritten."""
    _check_writable(out)
    if out.is_dir():
        raise OutputExistsError(f"{out}: a folder, where a file was expected; choose another name")


def _beside(out: Path, what: str) -> Path:
    """A name in the same folder that nobody has; not made of the output's, which may be as long as names get."""
    return out.absolute().parent / f".edge-lorahub-{what}-{secrets.token_hex(6)}"


@contextmanager
def output_folder(out: Path, *, force: bool, names: Sequence[str]) -> Iterator[Path]:
    """A new folder to write into, which becomes `out` when the block ends without an error.

    Until then `out` is as it was: the folder is written beside it and renamed. What was at `out` is moved aside first,
    put back after an error or an interrupt, and deleted last; force and names are those of `check_output_folder`.
    """
    check_output_folder(out, force=force, names=names)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    work, old = _beside(out, "new"), _beside(out, "old")
    work.mkdir()
    try:
        yield work
        check_output_folder(out, force=force, names=names)
        if _is_there(out):
            os.replace(out, old)
        os.replace(work, out)
    finally:
        if _is_there(old) and not _is_there(out):
            os.replace(old, out)
        for left in (work, old):
            if left.is_symlink():
                left.unlink()
            else:
                shutil.rmtree(left, ignore_errors=True)


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """A new file to write, which becomes `path` when the block ends without an error."""
    check_output_file(path)
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    work = _beside(path, "new")
    try:
        yield work
        os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with output_file(path) as work:
        work.write_text(text, encoding="utf-8")
