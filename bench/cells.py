"""The cells of a long measurement, each on disk as soon as it is there, so that a measurement that was ended goes on.

JSON lines. The first says what was measured, with which settings; every other is a cell: the fields that tell it from
the others, and its value, as `{"task": "reverse-upper", "seed": 1, "method": "zero-shot", "value": 0.5}`. Numbers are
read back to the last bit, so a table made of cells is the same whether they come from the file or were just measured.
A last line that was torn is dropped.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lorahub.errors import EdgeLorahubWarning, JournalError
from edge_lorahub.files.locks import locked
from edge_lorahub.files.outputs import check_output_file, write_text
from edge_lorahub.files.reading import read_file
from edge_lorahub.messages import some_of

_NAME, _FORMAT = "edge-lorahub cells", 1
_LARGEST = 256 << 20  # bytes; a cell has about a hundred
_VALUE = "value"

# The values of a cell's fields, in the order of the fields.
Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Words:
    """What messages call a cell, what was done to have it, and the option that names the file."""

    one: str = "cell"
    done: str = "measured"
    option: str = "--cells"

    @property
    def several(self) -> str:
        return f"{self.one}s"


CELLS = Words()


class Cells:
    """A mapping from keys to values that JSON can hold; `record` adds one, in memory and on disk.

    Open until `close`; one process at a time has a file.
    """

    def __init__(
        self, path: Path, fields: Sequence[str], settings: Mapping[str, Any], *, resume: bool,
        is_value: Callable[[Any], bool] = lambda value: True, words: Words = CELLS,
    ) -> None:  # fmt: skip
        """fields: the names of a key's parts. settings: all that the values depend on beside the key, as JSON holds it.

        resume: go on with the cells that are there. is_value: whether what a file has may be a cell's value. Raises
        JournalError for cells that are there without `resume`, for none that could be resumed, for those of other
        settings, for a file that is none of cells or damaged, and for one that another process writes;
        OutputExistsError or NotWritableError for a place that cannot be written to.
        """
        self.path = path
        self.fields = tuple(fields)
        self.words = words
        self._is_value = is_value
        self._known: dict[Key, Any] = {}
        self._whole = True  # until something cannot be written
        header: dict[str, Any] = json.loads(json.dumps({"fields": self.fields, "settings": settings}))
        header = {"name": _NAME, "format": _FORMAT, "digest": _digest(header), **header}
        check_output_file(path)
        if resume and not path.exists():
            raise JournalError(f"{path}: no {words.several} to resume from; leave --resume out to begin")
        if not resume:
            if path.exists():
                self._parse_header(read_file(path, JournalError, _LARGEST))
                raise JournalError(
                    f"{path}: has {words.several} of an earlier run; --resume goes on with them, and to begin anew "
                    f"remove the file, or name another with {words.option}"
                )
            write_text(path, json.dumps(header) + "\n")
        self._file = path.open("r+b")
        try:
            self._read(header)
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: Key) -> bool:
        return key in self._known

    def __getitem__(self, key: Key) -> Any:
        return self._known[key]

    def get(self, key: Key, measure: Callable[[], Any]) -> Any:
        """The cell's value, measured and recorded where it is not known."""
        if key not in self._known:
            self.record(key, measure())
        return self._known[key]

    def record(self, key: Key, value: Any) -> None:
        """Adds a cell. Where it cannot be written there is one warning, and it is in memory alone."""
        line = json.dumps({**dict(zip(self.fields, key, strict=True)), _VALUE: value})
        self._known[key] = json.loads(line)[_VALUE]
        if not self._whole:
            return
        try:
            self._file.write(line.encode() + b"\n")
            self._sync()  # what takes seconds to measure may take a millisecond to keep
        except OSError as error:
            self._whole = False
            warnings.warn(
                f"{self.path}: {self.words.several} cannot be written any more ({error.strerror}); it goes on, but "
                "cannot be resumed past this",
                EdgeLorahubWarning,
                stacklevel=2,
            )

    def close(self) -> None:
        with suppress(OSError):  # of what could not be written
            self._file.close()

    def remove(self) -> None:
        """Closes and deletes the file: the measurement is done."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, header: Mapping[str, Any]) -> None:
        """Takes the file's cells, and leaves it open at its end, without a torn line."""
        try:
            locked(self._file.fileno())
        except BlockingIOError:
            raise JournalError(
                f"{self.path}: another run writes {self.words.several} there; wait for it, or name another file "
                f"({self.words.option})"
            ) from None
        data = read_file(self.path, JournalError, _LARGEST)
        found = self._parse_header(data)
        if found.get("digest") != header["digest"]:
            raise JournalError(
                f"{self.path}: {self.words.several} {self.words.done} with other settings"
                f"{_difference(found, header)}; resume with the same, or begin anew in another file "
                f"({self.words.option})"
            )
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[1:-1], 2):
            try:
                row = json.loads(line)
                key = tuple(row[field] for field in self.fields)
                value = row[_VALUE]
                if len(row) != len(key) + 1 or not all(isinstance(part, (str, int)) for part in key):
                    raise ValueError("other fields than a cell's")
                if not self._is_value(value):
                    raise ValueError(f"value {value!r:.40}")
                if key in self._known:
                    raise ValueError("the same cell twice")
                self._known[key] = value
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise JournalError(
                    f"{self.path}, line {number}: damaged ({error}); remove the line, and its {self.words.one} is "
                    f"{self.words.done} again"
                ) from error
        self._file.truncate(len(whole))
        self._file.seek(0, os.SEEK_END)

    def _parse_header(self, data: bytes) -> dict[str, Any]:
        """The file's first line. Raises JournalError if it is none of cells."""
        try:
            line, end, _ = data.partition(b"\n")
            header = json.loads(line)
            if end and header["name"] == _NAME and header["format"] == _FORMAT:
                return dict(header)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise JournalError(
            f"{self.path}: no file of {self.words.several} of this version; move it away, or name another "
            f"({self.words.option})"
        )


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Which settings differ, by their names, as far as the file says."""
    there, here = found.get("settings"), wanted["settings"]
    if not isinstance(there, dict):
        return ""
    names = sorted(name for name in {*there, *here} if there.get(name) != here.get(name))
    return f" ({some_of(names)})" if names else ""
