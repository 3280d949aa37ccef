"""Files and folders: JSON with clear errors, digests, and outputs that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import BundleError, EdgeLorahubError, MissingPathError, OutputExistsError

_LFS_HEAD = b"version https://git-lfs"


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
        return file.read(len(_LFS_HEAD)) == _LFS_HEAD


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


def check_output_folder(out: Path, *, force: bool, marker: str) -> None:
    """Refuses an output folder that exists, unless `force` and it is empty or an older output of ours.

    marker is the file that tells such an output: with `force`, a folder without it is somebody's data.
    """
    if not out.exists() and not out.is_symlink():
        return
    if not force:
        raise OutputExistsError(f"{out}: exists already; choose another folder, or overwrite it with --force")
    if not out.is_dir() or (any(out.iterdir()) and not (out / marker).is_file()):
        raise OutputExistsError(
            f"{out}: will not be overwritten, it has no {marker} and so was not made by this command; "
            "choose another folder"
        )


@contextmanager
def output_folder(out: Path, *, force: bool, marker: str) -> Iterator[Path]:
    """A new folder to write into, which becomes `out` when the block ends without an error.

    Until then `out` is as it was: the folder is written beside it and renamed. What was at `out` is moved
    aside first and deleted last.
    """
    check_output_folder(out, force=force, marker=marker)
    out.parent.mkdir(parents=True, exist_ok=True)
    work, old = (out.parent / f".{out.name}.{what}-{secrets.token_hex(4)}" for what in ("new", "old"))
    work.mkdir()
    try:
        yield work
        check_output_folder(out, force=force, marker=marker)
        if out.exists() or out.is_symlink():
            os.replace(out, old)
            try:
                os.replace(work, out)
            except OSError:
                os.replace(old, out)
                raise
            if old.is_symlink():
                old.unlink()
            else:
                shutil.rmtree(old)
        else:
            os.replace(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.parent / f".{path.name}.new-{secrets.token_hex(4)}"
    try:
        work.write_text(text, encoding="utf-8")
        os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)
