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
    "str | None": lambda value: value is None or _CHECKS["str"](value),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int and 0 <= value <= _LARGEST,
    "int | None": lambda value: value is None or _CHECKS["int"](value),
    "tuple[int, ...]": lambda value: isinstance(value, tuple) and all(map(_CHECKS["int"], value)),
    "tuple[str, ...]": lambda value: isinstance(value, tuple) and all(map(_CHECKS["str"], value)),
}


def check_fields(record: Any) -> None:
    """Refuses an instance of a dataclass with a field of another type, or a number below 0 or beyond 2^48.

    A field that is a dataclass itself must be one of that name, and checks itself. The dataclass's module must postpone
    the evaluation of annotations. Raises ValueError.
    """
    for field in fields(record):
        value, kind = getattr(record, field.name), str(field.type)
        if not (_CHECKS[kind](value) if kind in _CHECKS else type(value).__name__ == kind):
            raise ValueError(f"{field.name} is {value!r:.80}")
