"""Files and folders: JSON with clear errors, digests, and outputs that appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import (
    BundleError,
    EdgeLorahubError,
    MissingPathError,
    NotWritableError,
    OutputExistsError,
)
from .kinds import made_here
from .reading import LARGEST_JSON, check_values, read_file
from .work_folder import WorkFolder, tidy
from .write_errors import write_error

LFS_HEAD = b"version https://git-lfs"
# Bytes of an adapter's record, which has every candidate.
_LARGEST_SIGN = 256 << 20
# SHA-256 by device, inode, size and times of change: an older output is compared before and after the slow part.
_known_digests: dict[tuple[int, ...], str] = {}


def sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digests_of(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The SHA-256 of those of the files that are there, by name."""
    return {name: sha256(folder / name) for name in names if (folder / name).is_file()}


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


def read_json(path: Path, error: Callable[[str], EdgeLorahubError], *, largest: int = LARGEST_JSON) -> dict[str, Any]:
    """Reads a JSON object from a file of at most so many bytes; what is wrong with it is raised as `error(message)`."""
    data = read_file(path, error, largest)
    try:
        text = data.decode("utf-8")
        check_values(text)
        value = json.loads(text)
    except (ValueError, UnicodeDecodeError, RecursionError) as problem:
        if data.startswith(LFS_HEAD):
            raise error(lfs_message(path)) from problem
        raise error(f"{path}: not valid JSON ({problem})") from problem
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object, got a {type(value).__name__}")
    return value


def check_output_folder(out: Path, *, force: bool, names: Sequence[str]) -> None:
    """Refuses an output folder that cannot be made, or that exists.

    With `force` an existing one may be overwritten if it is an older output by its contents. names are the files of
    one. The first of them must be there and written by this tool (`kinds.made_here`), with the digests of all others
    that are there: anything else would be somebody's data.

    What runs that died have left beside it is finished or removed before. Raises OutputExistsError or NotWritableError.
    """
    tidy(out.absolute().parent)
    check_place(out)
    if not os.path.lexists(out):
        return
    if not force:
        # with force that would be refused below; digests take long, and only tell whether somebody has changed a file
        if reason := _not_ours(out, names, digests=False) if out.is_dir() else "it is not a folder":
            raise OutputExistsError(f"{out}: exists already, and {reason}; choose another, or remove this one yourself")
        raise OutputExistsError(
            f"{out}: exists already; choose another folder, or overwrite it with --force (force=True in Python)"
        )
    if out.is_dir() and not os.access(out, os.W_OK):
        raise NotWritableError(f"{out}: no permission to replace what is in it; choose another folder")
    if not out.is_dir():
        raise OutputExistsError(f"{out}: not a folder, and will not be overwritten; choose another name")
    _check_ours(out, out, names)


def _check_ours(folder: Path, out: Path, names: Sequence[str]) -> None:
    """Refuses to replace a folder that is not just an output; out is its name for the user."""
    if reason := _not_ours(folder, names):
        raise OutputExistsError(
            f"{out}: will not be overwritten: {reason}, so it is not just an output of this command; "
            "choose another folder, or remove this one yourself"
        )


def _not_ours(folder: Path, names: Sequence[str], *, digests: bool = True) -> str | None:
    """Why a folder may hold something of somebody else's. None for an empty one, or a link, which alone is replaced."""
    found = [] if folder.is_symlink() else sorted(path.name for path in folder.iterdir())
    sign = names[0]
    if strange := [name for name in found if name not in names]:
        return f"it has {strange[0]}"
    if found and sign not in found:
        return f"it has no {sign}"
    for name in found:
        if not (folder / name).is_file():
            return f"its {name} is no file"
    if not found:
        return None
    record = _read_sign(folder / sign)
    if not made_here(sign, record):
        return f"its {sign} is not one that edge-lorahub wrote, with digests of the other files"
    for name in found if digests else ():
        if name != sign and record["sha256"].get(name) != _digest(folder / name):
            return f"its {name} is not what {sign} says"
    return None


def _read_sign(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is none."""
    try:
        return read_json(path, BundleError, largest=_LARGEST_SIGN)
    except BundleError:
        return {}


def _digest(path: Path) -> str:
    found = path.stat()
    key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if key not in _known_digests:
        _known_digests[key] = sha256(path)
    return _known_digests[key]


def check_place(out: Path) -> None:
    """Says before the slow part that nothing can be made there. Raises OutputExistsError or NotWritableError."""
    parent = next((path for path in out.absolute().parents if path.exists()), out.absolute())  # of the root: itself
    if not parent.is_dir():
        raise OutputExistsError(f"{out}: {parent} is a file, not a folder; choose another place")
    if not os.access(parent, os.W_OK):
        raise NotWritableError(f"{out}: no permission to write in {parent}; choose another place")


def check_output_file(out: Path) -> None:
    """Says before the slow part that a file cannot be written; one that exists is overwritten.

    Raises OutputExistsError or NotWritableError.
    """
    tidy(out.absolute().parent)
    check_place(out)
    if out.is_dir():
        raise OutputExistsError(f"{out}: a folder, where a file was expected; choose another name")
    if out.exists() and not stat.S_ISREG(out.stat().st_mode):
        raise OutputExistsError(f"{out}: a device or pipe, which a file would replace; choose another name")
    if out.exists() and not os.access(out, os.W_OK):
        raise NotWritableError(f"{out}: no permission to overwrite it; choose another name")


@contextmanager
def output_folder(out: Path, *, force: bool, names: Sequence[str]) -> Iterator[Path]:
    """A new folder to write into, which becomes `out` when the block ends without an error.

    Until then `out` is as it was: the folder is written beside it. Once it is on the disk it takes the place of what
    was there in one step, or in two that the next run finishes (`work_folder`). Only then is the older output deleted.
    force and names are those of `check_output_folder`.

    Raises OutputExistsError, NotWritableError, or OutputFailedError for a full disk. In all of these cases `out` is as
    before and nothing is left beside it.
    """
    check_output_folder(out, force=force, names=names)
    with _work(out, names) as work:
        work.output.mkdir()
        yield work.output
        check_output_folder(out, force=force, names=names)
        work.replace(lambda replaced: _check_ours(replaced, out, names))


@contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """The path of a folder to make, which then takes the place of whatever `out` is: for a cache, which is ours alone.

    Raises NotWritableError or OutputFailedError.
    """
    tidy(out.absolute().parent)
    check_place(out)
    with _work(out, None) as work:
        yield work.output
        work.replace(lambda replaced: None)


def remove_output_folder(out: Path, names: Sequence[str]) -> None:
    """Removes an output, whole or not at all, if it is just that by its contents; names: as `check_output_folder`.

    Raises MissingPathError, OutputExistsError for somebody else's data, or NotWritableError.
    """
    if not os.path.lexists(out):
        raise MissingPathError(f"{out}: no such folder")
    if out.is_symlink():
        raise OutputExistsError(f"{out}: a link, and not removed; remove it yourself")
    check_output_folder(out, force=True, names=names)
    with _work(out, None) as work:
        out.rename(work.output)  # goes with the work folder


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A folder for large files that are not needed for long, on the same disk as `beside`; removed in the end.

    That of a run that died is removed by the next one with an output there.
    """
    with _work(beside, None) as work:
        work.output.mkdir()
        yield work.output


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """The path of a file to write, which becomes `path` when the block ends without an error.

    Raises OutputExistsError, NotWritableError or OutputFailedError; then what was there is as before.
    """
    check_output_file(path)
    with _work(path, ()) as work:
        yield work.output
        work.replace(lambda replaced: None)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with output_file(path) as work:
        work.write_text(text, encoding="utf-8")


def keep_text(name: str, text: str, folders: Sequence[Path] = ()) -> Path | None:
    """Keeps a small result that has no other place, such as weights whose adapter could not be saved.

    Tries the folders, the current folder and the system's one for temporary files, in this order. The file gets the
    name, with a number where that is in use. Gives its path, or None if no folder takes it; never raises OSError.
    """
    import tempfile

    for folder in (*folders, Path(), Path(tempfile.gettempdir())):
        with suppress(OSError, EdgeLorahubError):
            path = _free_name(folder.absolute(), name)
            write_text(path, text)
            return path
    return None


def _free_name(folder: Path, name: str) -> Path:
    path, number = folder / name, 1
    while os.path.lexists(path):
        number += 1
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
    return path


@contextmanager
def _work(out: Path, names: Sequence[str] | None) -> Iterator[WorkFolder]:
    """A work folder for `out`, for whose folder the parents are made; after an error they are removed again."""
    parent = out.absolute().parent
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    work = WorkFolder(out, names)
    try:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            work.open()
            yield work
        finally:
            work.close()
    except BaseException as error:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, Exception) and (line := write_error(error, out, (work.path, *made))):
            raise line from error
        raise
