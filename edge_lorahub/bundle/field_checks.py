"""The fields of a record that comes from a file, checked by their annotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

# No file has more bytes, and nothing in one is more often.
_LARGEST = 1 << 48

# No text is longer.
_LONGEST = 1 << 16

_CHECKS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str) and len(value) <= _LONGEST,
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int and 0 <= value <= _LARGEST,
    "int | None": lambda value: value is None or _CHECKS["int"](value),
    "tuple[int, ...]": lambda value: isinstance(value, tuple) and all(map(_CHECKS["int"], value)),
    "tuple[str, ...]": lambda value: isinstance(value, tuple) and all(map(_CHECKS["str"], value)),
}


def check_fields(record: Any) -> None:
    """Refuses an instance of a dataclass with a field of another type, or a number below 0 or beyond 2^48.

    The dataclass's module must postpone the evaluation of annotations. Raises ValueError.
    """
    for field in fields(record):
        value = getattr(record, field.name)
        if not _CHECKS[str(field.type)](value):
            raise ValueError(f"{field.name} is {value!r:.80}")
