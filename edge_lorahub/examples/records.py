"""Files of examples as records: JSONL, JSON, and tables with a header (CSV, TSV)."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import EdgeLorahubWarning, ExamplesError, MissingPathError
from ..files.outputs import LFS_HEAD, lfs_message
from ..files.reading import check_values, read_stream

# By a file's ending, the delimiters in the order in which they are tried. Spreadsheets write ";" where "," is the
# decimal sign.
_TABLES = {".csv": (",", ";", "\t"), ".tsv": ("\t",), ".tab": ("\t",)}
_BREAK = re.compile(r"[\r\n]")
_EMPTY_LINES = re.compile(r"\s*\n")
# Examples beyond this are no longer a few; a device may have no end.
_LARGEST = 256 << 20


@dataclass(frozen=True)
class Records:
    """A file's records, each with where it stands, for messages; and what stands beside a JSON object's list.

    Records of lines and tables are made when they are asked for, once.
    """

    records: Iterable[tuple[str, Any]]
    beside: dict[str, Any] = field(default_factory=dict)


def read_records(path: Path, known: Callable[[Sequence[str]], bool]) -> Records:
    """Reads a file, or a pipe, once.

    A file named .json holds a list, or an object with one under "examples"; .csv, .tsv and .tab are tables, whose
    header `known` must recognize; anything else is JSONL, or one of the others by what is in it. Raises
    MissingPathError or ExamplesError.
    """
    text = _text(path)
    try:
        check_values(text)
    except ValueError as error:
        raise ExamplesError(f"{path}: {error}, which are no examples") from error
    ending = path.suffix.lower()
    if ending in _TABLES:
        return Records(_table(path, text, _TABLES[ending], known))
    if ending == ".json":
        try:
            value = _json(text)
        except (ValueError, RecursionError) as error:
            raise ExamplesError(
                f"{path}: not valid JSON ({error}); one object a line is JSONL, name it .jsonl"
            ) from error
        return _json_records(path, value)
    try:
        value = _json(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, list) or (isinstance(value, dict) and "examples" in value):
        return _json_records(path, value)
    if ending != ".jsonl" and not text.lstrip().startswith(("{", "[")) and _delimiter(text, _TABLES[".csv"], known):
        return Records(_table(path, text, _TABLES[".csv"], known))
    return Records(_lines(path, text))


def _text(path: Path) -> str:
    # not is_file: a shell's <(command) and /dev/stdin are pipes
    if not path.exists() or path.is_dir():
        if path.is_dir():
            raise ExamplesError(f"{path}: a folder, where a file of examples was expected; name the file")
        raise MissingPathError(f"{path}: no such file of examples")
    # once: a pipe cannot be read twice
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not file.isatty()):
            raise ExamplesError(f"{path}: a device, where a file of examples was expected")
        data = read_stream(file, _LARGEST)
    if data is None:
        raise ExamplesError(f"{path}: larger than {_LARGEST >> 20} MB; take a part of it")
    if data.startswith(LFS_HEAD):
        raise ExamplesError(lfs_message(path))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExamplesError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python's json keeps the last of two values under one key, and drops the first without a word."""
    result = dict(pairs)
    if len(result) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice!r:.80} is there twice")
    return result


def _json_records(path: Path, value: Any) -> Records:
    records, beside = value, {}
    if isinstance(value, dict):
        records = value.get("examples")
        beside = {name: other for name, other in value.items() if name != "examples"}
    if not isinstance(records, list):
        raise ExamplesError(f"{path}: expected a list of examples, or an object with one under 'examples'")
    return Records(((f"{path}, example {number}", record) for number, record in enumerate(records, 1)), beside)


def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    start = number = 0
    while start < len(text):
        if empty := _EMPTY_LINES.match(text, start):
            number, start = number + text.count("\n", start, empty.end()), empty.end()
            continue
        # not splitlines: a JSON text may hold U+2028, which that would break
        end = text.find("\n", start)
        line = text[start : end if end >= 0 else None]
        number, start = number + 1, start + len(line) + 1
        if not line.strip():
            continue
        try:
            record = _json(line)
        except (ValueError, RecursionError) as error:
            raise ExamplesError(
                f"{path}, line {number}: not valid JSON ({error}); expected an object a line, "
                "or a table with a header in a file named .csv or .tsv"
            ) from error
        yield f"{path}, line {number}", record


def _table(
    path: Path, text: str, delimiters: Sequence[str], known: Callable[[Sequence[str]], bool]
) -> Iterator[tuple[str, Any]]:
    """A record for each row, with every cell a text."""
    if not text.strip():
        return
    delimiter = _delimiter(text, delimiters, known) or delimiters[0]
    lines = _Lines(text)
    # its bound is there against what a file could take, which is bounded already
    csv.field_size_limit(max(csv.field_size_limit(), _LARGEST))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    line = 1
    try:
        for row in reader:
            where, line, raw = f"{path}, line {line}", reader.line_num + 1, lines.take()
            if not row:
                continue
            if not header:
                header = _names(row)
                name, count = Counter(header).most_common(1)[0]
                if count > 1:
                    raise ExamplesError(f"{where}: two columns are named {name!r:.80}; rename one of them")
                if not known(header):
                    raise ExamplesError(
                        f"{where}: no columns that make an example, got {', '.join(map(repr, header))[:200]}; "
                        "the first line must name them, for example input and output"
                    )
                continue
            if len(row) != len(header):
                raise ExamplesError(
                    f"{where}: {len(row)} cells under {len(header)} column names; "
                    "put texts that hold the delimiter or quotes into quotes"
                )
            if len(raw) > 1:
                _check_joined(where, delimiter, row, raw)
            yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ExamplesError(
            f"{path}, line {line}: not a table's row ({error}); a quote within quotes is written twice"
        ) from error


def _check_joined(where: str, delimiter: str, row: Sequence[str], raw: Sequence[str]) -> None:
    """Looks for rows that a quote at the start of a text has joined; raw: the lines that the row is made of.

    With tabs it is an error: nobody writes tabs and line breaks into one cell. Elsewhere a warning, where every line
    might be a row, and no quote is written twice.
    """
    what = f"{where}: a quote at the start of a text makes one cell of {len(raw)} lines"
    if delimiter == "\t" and any("\t" in cell and _BREAK.search(cell) for cell in row):
        raise ExamplesError(
            f"{what} and the tabs in them; put texts that hold quotes into quotes, and write these twice"
        )
    if all(line.count(delimiter) + 1 == len(row) and '""' not in line for line in raw):
        warnings.warn(
            f"{what}, each of which might be a row; if it is, put texts that hold quotes into quotes, and write these "
            "twice",
            EdgeLorahubWarning,
            stacklevel=2,
        )


class _Lines:
    """A text's lines, for a reader of rows, which takes more than one where a cell has line breaks."""

    def __init__(self, text: str) -> None:
        self._lines = io.StringIO(text, newline="")
        self._taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self._taken.append(line)
            yield line

    def take(self) -> list[str]:
        """The lines since the last time."""
        taken, self._taken = self._taken, []
        return taken


def _delimiter(text: str, delimiters: Sequence[str], known: Callable[[Sequence[str]], bool]) -> str | None:
    """The first delimiter with which the header is one that is known."""
    for delimiter in delimiters:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = next((row for row in reader if row), [])
        except csv.Error:
            continue
        if known(_names(header)):
            return delimiter
    return None


def _names(row: Sequence[str]) -> list[str]:
    """A header's names; people write "Input", and a space after the comma."""
    return [name.strip().lower() for name in row]
