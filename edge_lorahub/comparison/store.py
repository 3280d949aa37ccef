"""The folder of a comparison: its cells, each written whole once, and what they say together."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import EdgeLorahubWarning, JournalError, NotWritableError, OutputExistsError, warn
from ..files.locks import locked
from ..files.outputs import check_output_file, read_json, write_text
from ..files.typed_json import read_as, to_json
from ..files.user_path import user_path
from ..messages import some_of
from .cell import Cell, digest_of
from .result import Result

RUN, RESULTS, TABLE, CELLS, LOCK = "run.json", "results.json", "table.md", "cells", "lock"
_OURS = {RUN, RESULTS, TABLE, CELLS, LOCK}
_CELL, _RUN, _FORMAT = "edge-lorahub cell", "edge-lorahub comparison run", 1
# Of a cell's file: its longest part are the answers.
_LARGEST = 256 << 20


class Store:
    """A comparison's folder, which one process at a time writes to: see `opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, cell: Cell) -> Result | None:
        """What is known of a cell. What is damaged is named in a warning, and is not known."""
        path = self._path(cell)
        if not os.path.lexists(path):
            return None
        try:
            record = read_json(path, JournalError, largest=_LARGEST)
            if (record.get("name"), record.get("format")) != (_CELL, _FORMAT):
                raise ValueError("no cell of this version")
            if digest_of(record.get("key")) != cell.digest:
                raise ValueError("its key is another cell's")
            if digest_of(record.get("result")) != record.get("sha256"):
                raise ValueError("its result is not what its digest says")
            result = read_as(Result, record["result"])
            if not len(result.predictions) == len(result.exact) == len(result.normalized) == len(cell.inputs):
                raise ValueError("it has not an answer to every input")
        except (JournalError, ValueError, RecursionError) as error:
            reason = str(error).removeprefix(f"{path}: ")
            warnings.warn(
                f"{path}: damaged ({reason}); it is measured again ({cell.name})", EdgeLorahubWarning, stacklevel=2
            )
            return None
        return result

    def put(self, cell: Cell, result: Result) -> None:
        """Keeps a result, whole or not at all. Raises NotWritableError or OutputFailedError."""
        value = to_json(result)
        record = {"name": _CELL, "format": _FORMAT, "key": cell.key, "sha256": digest_of(value), "result": value}
        write_text(self._path(cell), json.dumps(record) + "\n")

    def begin(
        self, settings: Mapping[str, Any], tasks: Sequence[str], seeds: Sequence[int], cells: Sequence[Cell]
    ) -> None:
        """Says what is measured now. What was said together of something else goes, and its cells stay."""
        record = {
            "name": _RUN,
            "format": _FORMAT,
            "settings": settings,
            "tasks": list(tasks),
            "methods": list(dict.fromkeys(cell.method.id for cell in cells)),
            "seeds": list(seeds),
            "cells": [cell.digest for cell in cells],
        }
        path = self.folder / RUN
        if _read_run(path) == record:
            return
        if _is_damaged(path):
            warn(f"{path}: damaged; it is written anew, and the cells, which tell for themselves what they are, stay")
        for name in (RESULTS, TABLE):
            (self.folder / name).unlink(missing_ok=True)
        write_text(path, json.dumps(record, indent=1) + "\n")

    def finish(self, results: Mapping[str, Any], table: str) -> None:
        """Writes what the cells say together."""
        write_text(self.folder / RESULTS, json.dumps(results, indent=1, allow_nan=False) + "\n")
        write_text(self.folder / TABLE, table)

    def _path(self, cell: Cell) -> Path:
        return self.folder / CELLS / f"{cell.digest}.json"


def check_folder(folder: Path) -> None:
    """Refuses, before the slow part, a folder that is something else's, or cannot be written to.

    Raises OutputExistsError or NotWritableError.
    """
    check_output_file(folder / RUN)
    if not folder.exists():
        return
    if any(folder.iterdir()) and _read_run(folder / RUN) is None and not _has_only_ours(folder):
        strange = sorted(entry.name for entry in folder.iterdir() if entry.name not in _OURS)
        if strange and (folder / CELLS).is_dir() and _is_damaged(folder / RUN):
            raise OutputExistsError(
                f"{folder}: its {RUN} is damaged, and it has files that no comparison writes ({some_of(strange)}), so "
                "nothing is written there; choose another folder, or move these away"
            )
        raise OutputExistsError(
            f"{folder}: has no {RUN} of a comparison, so it is something else's; choose another folder"
        )
    for place in (folder, folder / CELLS):
        if place.exists() and not os.access(place, os.W_OK):
            raise NotWritableError(f"{place}: no permission to write in it; choose another folder")


@contextmanager
def opened(folder: str | Path) -> Iterator[Store]:
    """The store in a folder, made where there is none. Raises JournalError where another process has it open."""
    path = user_path(folder)
    check_folder(path)
    try:
        (path / CELLS).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except PermissionError:
        raise NotWritableError(f"{path}: no permission to write in it; choose another folder") from None
    try:
        try:
            locked(descriptor)
        except BlockingIOError:
            raise JournalError(
                f"{path}: another comparison writes there; wait for it, or name another folder with --out"
            ) from None
        yield Store(path)
    finally:
        os.close(descriptor)


def _read_run(path: Path) -> dict[str, Any] | None:
    """What is in run.json, None for what is none of ours."""
    try:
        record = read_json(path, JournalError, largest=_LARGEST)
    except (JournalError, OSError):
        return None
    return record if (record.get("name"), record.get("format")) == (_RUN, _FORMAT) else None


def _is_damaged(path: Path) -> bool:
    """Whether a file is there that is not JSON; one of another program, or of another version, is JSON."""
    try:
        read_json(path, JournalError, largest=_LARGEST)
    except JournalError as error:
        return isinstance(error.__cause__, (json.JSONDecodeError, UnicodeDecodeError))
    except OSError:
        return False
    return False


def _has_only_ours(folder: Path) -> bool:
    """Whether a folder without a run.json that can be read is a comparison's by its names.

    Either the comparison ended before it could say anything, or the file was damaged since. A damaged run.json alone,
    without cells, may be anybody's.
    """
    names = {entry.name for entry in folder.iterdir()}
    cells = folder / CELLS
    if RUN in names:
        return _is_damaged(folder / RUN) and cells.is_dir() and names <= _OURS
    return names <= {LOCK, CELLS} and (not cells.is_dir() or not any(cells.iterdir()))
