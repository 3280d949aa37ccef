"""Examples of a task: texts in, texts out."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ExamplesError, MissingPathError, SettingsError
from .files import is_lfs_pointer, lfs_message

# The accepted spellings: our own, the released LoraHub data's, BIG-Bench-Hard's
_KEYS = (("input", "output"), ("context", "completion"), ("input", "target"))


@dataclass(frozen=True)
class Example:
    """One example: the text that the model reads, and the text that it should write."""

    input: str
    output: str


def read_examples(
    path: str | Path, *, skip: int = 0, limit: int | None = None, shuffle_seed: int | None = None
) -> list[Example]:
    """Reads examples from JSONL (an object a line), or JSON (a list, or {"examples": [...]}).

    Each has "input" and "output", or "context" and "completion", or "input" and "target" (BIG-Bench Hard).
    shuffle_seed shuffles first, skip then leaves out that many from the front, and limit takes that many of the
    rest. Raises ExamplesError, MissingPathError or SettingsError (a skip below 0, a limit below 1).
    """
    if skip < 0:
        raise SettingsError(f"skip must be at least 0, got {skip}")
    if limit is not None and limit < 1:
        raise SettingsError(f"limit must be at least 1, got {limit}")
    path = Path(path)
    records = _records(path)
    examples = [_example(record, where) for where, record in records]
    if not examples:
        raise ExamplesError(f"{path}: no examples in it")
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(examples)
    if skip >= len(examples):
        raise ExamplesError(f"{path}: skipping {skip} leaves nothing of its {len(examples)} examples; skip fewer")
    return examples[skip : None if limit is None else skip + limit]


def read_inputs(path: str | Path) -> list[str]:
    """Reads only the inputs of a file that `read_examples` reads; the outputs may be missing."""
    path = Path(path)
    texts = []
    for where, record in _records(path):
        text = next((record[key] for key, _ in _KEYS if isinstance(record, dict) and key in record), None)
        if not isinstance(text, str):
            raise ExamplesError(f"{where}: no text under 'input' or 'context'")
        texts.append(text)
    if not texts:
        raise ExamplesError(f"{path}: no examples in it")
    return texts


def fingerprint(examples: Sequence[Example]) -> str:
    """The SHA-256 of the examples in their order: tells two runs on the same data from others."""
    text = json.dumps([[e.input, e.output] for e in examples], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _records(path: Path) -> list[tuple[str, Any]]:
    """(where, record) for each record; where is for messages."""
    if not path.is_file():
        raise MissingPathError(f"{path}: no such file of examples")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExamplesError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    if is_lfs_pointer(path):
        raise ExamplesError(lfs_message(path))
    if path.suffix.lower() == ".json":
        return _json_records(path, text)
    records = []
    # not splitlines: a JSON text may hold U+2028, which that would break
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                records.append((f"{path}, line {number}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise ExamplesError(f"{path}, line {number}: not valid JSON ({error})") from error
    return records


def _json_records(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExamplesError(f"{path}: not valid JSON ({error}); one object a line is JSONL, name it .jsonl") from error
    records = value.get("examples") if isinstance(value, dict) else value
    if not isinstance(records, list):
        raise ExamplesError(f"{path}: expected a list of examples, or an object with one under 'examples'")
    return [(f"{path}, example {number}", record) for number, record in enumerate(records, 1)]


def _example(record: Any, where: str) -> Example:
    if not isinstance(record, dict):
        raise ExamplesError(f"{where}: expected an object, got a {type(record).__name__}")
    for first, second in _KEYS:
        if first in record and second in record:
            for key in (first, second):
                if not isinstance(record[key], str) or not record[key].strip():
                    raise ExamplesError(f"{where}: {key!r} must be a text that is not empty, got {record[key]!r:.80}")
            return Example(record[first], record[second])
    raise ExamplesError(
        f"{where}: no input with an output; expected 'input' and 'output', 'context' and 'completion' or "
        f"'input' and 'target', got {', '.join(map(repr, record)) or 'nothing'}"
    )
