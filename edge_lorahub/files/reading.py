"""Reading files of others: ordinary files only, and no more of them than memory is there for."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..errors import EdgeLorahubError, MissingPathError

# Of settings, manifests and indices: a thousand times what any of them has.
LARGEST_JSON = 16 << 20
# Python makes up to two hundred bytes of a value that is two characters long, so values are counted before they are
# parsed: a file may have this many, and one more for so many characters.
_MOST_VALUES = 1_000_000
_CHARACTERS_A_VALUE = 16

Error = Callable[[str], EdgeLorahubError]


def open_file(path: Path, error: Error) -> BinaryIO:
    """Opens an ordinary file to read its bytes.

    A pipe would wait for a writer, and a device may have no end: both are refused, as `error(message)`. Raises
    MissingPathError if nothing is there.
    """
    try:
        # the file that is open is looked at, and opening a pipe does not wait
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise MissingPathError(f"{path}: no such file") from None
    file = os.fdopen(descriptor, "rb") if not stat.S_ISDIR(os.fstat(descriptor).st_mode) else None
    if file is None:
        os.close(descriptor)
        raise error(f"{path}: a folder, where a file was expected")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise error(f"{path}: a pipe or a device, where a file was expected")
    return file


def read_file(path: Path, error: Error, largest: int) -> bytes:
    """All of an ordinary file of at most so many bytes; anything else is raised as `error(message)`."""
    with open_file(path, error) as file:
        data = read_stream(file, largest)
    if data is None:
        raise error(f"{path}: larger than {largest >> 20} MB, which no file of its kind is")
    return data


def read_stream(file: BinaryIO, largest: int) -> bytes | None:
    """What is left of a stream, None if that is more than so many bytes."""
    data = bytearray()
    # in pieces: Python makes room at once for all that it is told to read
    while piece := file.read(1 << 20):
        data += piece
        if len(data) > largest:
            return None
    return bytes(data)


def check_values(text: str) -> None:
    """Refuses a text, before it is parsed, of which JSON or a table would make far more than the text. ValueError."""
    values = sum(map(text.count, ",[{;\t"))
    if values > _MOST_VALUES + len(text) // _CHARACTERS_A_VALUE:
        raise ValueError(f"more than {values // 1_000_000} million values, nearly without text")
