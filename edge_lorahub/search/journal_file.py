"""The file of a search's journal: its first line, its rows, and the lock of the process that writes it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TextIO

from ..errors import JournalError
from ..files.locks import locked
from ..files.reading import open_file

NAME, FORMAT = "edge-lorahub journal", 1
# A journal's first line has at most so many bytes: what is longer is no journal.
_MOST_HEADER = 4096


def check_journal(path: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuses what `Journal` would, as far as the file itself tells. Raises JournalError."""
    if not path.exists():
        if resume:
            raise JournalError(f"{path}: no journal to resume from; leave --resume out to begin a search")
        return
    read_header(path)
    _refuse_running(path)
    if not resume and not overwrite:
        raise JournalError(
            f"{path}: the journal of a search that did not end; --resume goes on with it, --force begins anew"
        )


def saved_in(path: Path) -> list[str]:
    """The digests of what was about to be saved when the journal's search was ended. Raises JournalError."""
    read_header(path)
    found = [row.get("saved") for _, row in read_rows(path)[0]]
    return [digest for digest in found if isinstance(digest, str)]


def remove_saved(path: Path) -> None:
    """Deletes the journal of a search whose result is saved. Raises JournalError where a process has it open."""
    _refuse_running(path)
    path.unlink(missing_ok=True)


def read_rows(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], int]:
    """A journal's rows after its first line, each with its line's number; and how many bytes are whole lines."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    rows = []
    for number, line in enumerate(whole.split(b"\n")[1:-1], 2):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"a {type(row).__name__}, where an object was expected")
        except (RecursionError, ValueError) as error:
            raise damaged(path, number, error) from error
        rows.append((number, row))
    return rows, len(whole)


def damaged(path: Path, line: int, error: Exception) -> JournalError:
    return JournalError(f"{path}, line {line}: damaged ({error}); begin anew with --force")


def open_locked(path: Path, journal: Path) -> TextIO:
    """Opens a file, which is made where it is not there, and locks it. Raises OSError, or JournalError if it is locked.

    journal: its path in messages.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        locked(descriptor)
        if not is_at(descriptor, path):
            raise BlockingIOError  # it was that of a process that ended just now, or has another name by now
        return open(descriptor, "r+", encoding="ascii")
    except BlockingIOError:
        os.close(descriptor)
        raise _running(journal) from None


def _refuse_running(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return
    try:
        locked(descriptor)
    except BlockingIOError:
        raise _running(path) from None
    finally:
        os.close(descriptor)


def _running(path: Path) -> JournalError:
    return JournalError(f"{path}: another process is running this search; wait for its end, or choose another --out")


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one that has a name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def read_header(path: Path) -> dict[str, Any]:
    """A journal's first line. Raises JournalError if there is none."""
    try:
        with open_file(path, JournalError) as file:
            line = file.readline(_MOST_HEADER)
        header = json.loads(line)
        if line.endswith(b"\n") and header["name"] == NAME and header["format"] == FORMAT:
            return dict(header)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise JournalError(f"{path}: in the place of the search's journal, and no journal of this version; move it away")
