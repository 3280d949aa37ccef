"""What the system refuses while an output is written, as a line that names the output."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection
from pathlib import Path

from ..errors import EdgeLorahubError, NotWritableError, OutputFailedError

# What hinders any writing in a place. Without a file's name such an error is taken for one of the output.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
# How Rust's libraries (safetensors, tokenizers) end the message of an error of the system.
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")


def write_error(error: Exception, out: Path, places: Collection[Path]) -> EdgeLorahubError | None:
    """The error to raise in its place; None if it is not one of the output, or says what to do already.

    places: the folders whose files are the output's. An error of the system that names another file is not of it.
    """
    if isinstance(error, EdgeLorahubError):
        return None
    number = _number(error, places)
    if number is None:
        return None
    reason = os.strerror(number)
    if number in _NOT_ALLOWED:
        return NotWritableError(f"{out}: no permission to write it ({reason}); choose another place")
    room = "free some space there, or " if number in _NO_ROOM else ""
    return OutputFailedError(f"{out}: could not be written ({reason}); nothing was changed; {room}choose another place")


def _number(error: Exception, places: Collection[Path]) -> int | None:
    """The system's number for an error of the output."""
    if not isinstance(error, OSError):
        found = _RUST_ERROR.search(str(error))
        return int(found[1]) if found and int(found[1]) in _NO_ROOM else None
    names = [name for name in (error.filename, error.filename2) if isinstance(name, (str, os.PathLike))]
    paths = [path for name in names for path in (Path(name), *Path(name).parents)]
    ours = any(place in paths for place in places) if names else error.errno in (*_NO_ROOM, errno.EROFS)
    return error.errno if ours else None
