"""Examples of a task: texts in, texts out."""

from __future__ import annotations

import hashlib
import json
import random
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EdgeLorahubWarning, ExamplesError, SettingsError, warn
from ..files.user_path import user_path
from ..messages import check_whole
from .records import Records, read_records
from .spellings import Read, holds_text, in_short, is_form, read_input, read_pair

# What BIG-Bench Hard's files have beside their examples: a mark by which to find them in training data
_CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Example:
    """One example: the text that the model reads, and the text that it should write."""

    input: str
    output: str


def read_examples(
    path: str | Path, *, skip: int = 0, limit: int | None = None, shuffle_seed: int | None = None
) -> list[Example]:
    """Reads examples from JSONL, JSON (a list, or {"examples": [...]}), or a CSV or TSV table with a header.

    As `read_with_system`, and the system's texts of conversations are put before the inputs, of which a warning tells.

    Each has one of the spellings of `example_forms`: "input" and "output", or "target" (BIG-Bench Hard), "question"
    and "answer", "context" or "prompt" and "completion" or "response", "inputs" and "targets"; or "messages" of one
    user and one assistant. An "instruction" may stand before the input, and then any input goes with any output. Text
    under other keys is warned about. A pipe will do.

    shuffle_seed shuffles first, skip then leaves out that many from the front, and limit takes that many of the
    rest. Raises ExamplesError, MissingPathError or SettingsError (no whole number, a skip or seed below 0, a limit
    below 1).
    """
    return joined(path, *read_with_system(path, skip=skip, limit=limit, shuffle_seed=shuffle_seed))


def read_with_system(
    path: str | Path, *, skip: int = 0, limit: int | None = None, shuffle_seed: int | None = None
) -> tuple[list[Example], list[str]]:
    """As `read_examples`, with what the system says in each apart, "" for nothing."""
    check_whole("skip", skip, least=0)
    if limit is not None:
        check_whole("limit", limit, least=1)
    if shuffle_seed is not None:
        check_whole("shuffle_seed", shuffle_seed, least=0)
    path = user_path(path)
    examples = _take(path, read_records(path, is_form), read_pair)
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(examples)
    if skip >= len(examples):
        raise ExamplesError(f"{path}: skipping {skip} leaves nothing of its {len(examples)} examples; skip fewer")
    return _apart(examples[skip : None if limit is None else skip + limit])


def read_inputs(path: str | Path) -> list[str]:
    """Reads only the inputs of a file that `read_examples` reads; the outputs may be missing."""
    return [example.input for example in joined(path, *read_inputs_with_system(path))]


def read_inputs_with_system(path: str | Path) -> tuple[list[Example], list[str]]:
    """Reads a file that `read_with_system` reads, of which the outputs may be missing; they are empty."""
    path = user_path(path)
    return _apart(_take(path, read_records(path, is_form), read_input))


def joined(path: str | Path, examples: Sequence[Example], systems: Sequence[str]) -> list[Example]:
    """The examples with what the system says on a line of its own before the input, of which it warns, once."""
    if count := sum(map(bool, systems)):
        warn(
            f"{path}: {count} of {len(examples)} conversations have a system text, which is put before the input, on a "
            "line of its own"
        )
    return [
        Example(f"{system}\n{example.input}" if system else example.input, example.output)
        for example, system in zip(examples, systems, strict=True)
    ]


def _apart(pairs: Sequence[tuple[Example, str]]) -> tuple[list[Example], list[str]]:
    return [example for example, _ in pairs], [system for _, system in pairs]


def fingerprint(examples: Sequence[Example]) -> str:
    """The SHA-256 of the examples in their order: tells two runs on the same data from others."""
    text = json.dumps([[e.input, e.output] for e in examples], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def check_examples(examples: Sequence[Example]) -> None:
    """Refuses what is no sequence of examples: a file's name, for example. Raises SettingsError."""
    if isinstance(examples, str) or not isinstance(examples, Sequence):
        kind = type(examples).__name__
        raise SettingsError(f"examples must be a list of Example, got a {kind}; read_examples reads those of a file")
    for number, example in enumerate(examples, 1):
        if not isinstance(example, Example):
            raise SettingsError(f"example {number} must be an Example, got a {type(example).__name__}")


def _take(path: Path, found: Records, read: Callable[[Any, str], Read]) -> list[tuple[Example, str]]:
    """The records as examples with the system's texts; says once, by name, what text was not used."""
    examples: list[tuple[Example, str]] = []
    left: Counter[str] = Counter()
    used: dict[str, None] = {}
    for where, record in found.records:
        one = read(record, where)
        examples.append((Example(one.input, one.output), one.system))
        left.update(one.left)
        used[" and ".join(map(repr, one.used))] = None
    if not examples:
        raise ExamplesError(f"{path}: no examples in it")
    parts = [f"{key!r:.80} ({count} of {len(examples)})" for key, count in left.items()]
    parts += [
        f"{key!r:.80} (beside 'examples')"
        for key, value in found.beside.items()
        if key != _CANARY and holds_text(value)
    ]
    if parts:
        warnings.warn(
            f"{path}: there is text that is not used, under {in_short(parts)}; used: {'; '.join(used)}",
            EdgeLorahubWarning,
            stacklevel=4,
        )
    return examples
