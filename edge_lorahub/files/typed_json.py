"""Values of JSON as frozen dataclasses, by their annotations: what is wrong with one is named by its field.

A dataclass is the description of what a file holds: its fields are all that may be there, and those without a default
must be. A field whose default is None is left out of the file where it is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
# No whole number is larger (`sys.maxsize`, which says "no limit"), and no text longer.
LARGEST_INT = (1 << 63) - 1
_LONGEST = 1 << 16
_PLAIN = {bool: "true or false", int: "a whole number from 0", float: "a number", str: "a text", NoneType: "null"}


class UnknownFieldError(ValueError):
    """A field is there that the dataclass does not have."""


def read_as(kind: type[T], value: object) -> T:
    """A dataclass from an object of JSON.

    Its fields are bool, int, float, str, None, unions of these, tuple[X, ...], Mapping[str, X], and such dataclasses.
    A whole number is one from 0 to 2^63 - 1, and a number is finite. Raises ValueError, which names the field;
    UnknownFieldError for one too many.
    """
    return cast(T, _read(kind, value, ""))


def to_json(value: object) -> Any:
    """What `read_as` reads: of a dataclass a dict, of a tuple a list."""
    if is_dataclass(value):
        found = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: to_json(inner) for field, inner in found if inner is not None or field.default is not None}
    if isinstance(value, Mapping):
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(inner) for inner in value]
    return value


def _read(kind: Any, value: object, where: str) -> object:
    if kind in _PLAIN:
        return _plain(kind, value, where)
    if is_dataclass(kind):
        return _dataclass(cast(type, kind), value, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return _union(inner, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(value, where, "a list")
        # a search's candidates are many numbers: those that are floats already are looked at all at once
        if inner[0] is float and set(map(type, value)) <= {float} and math.isfinite(sum(map(abs, value))):
            return tuple(value)
        return tuple(_read(inner[0], item, f"{where}[{place}]") for place, item in enumerate(value))
    if not isinstance(value, dict):
        raise _wrong(value, where, "an object")
    return {key: _read(inner[1], item, _below(where, key)) for key, item in value.items()}


def _plain(kind: type, value: object, where: str) -> object:
    if kind is float and type(value) is int:
        with suppress(OverflowError):  # a whole number beyond any float
            return float(value)
    right = type(value) is kind
    if isinstance(value, float):
        right = right and math.isfinite(value)
    elif isinstance(value, str):
        right = right and len(value) <= _LONGEST
    elif kind is int and isinstance(value, int):
        right = right and 0 <= value <= LARGEST_INT
    if not right:
        raise _wrong(value, where, _PLAIN[kind])
    return value


def _dataclass(kind: type, value: object, where: str) -> object:
    if not isinstance(value, dict):
        raise _wrong(value, where, "an object")
    hints, needed = _fields_of(kind)
    if strange := value.keys() - hints.keys():
        raise UnknownFieldError(f"{_below(where, min(strange))} is a field that this program does not know")
    if missing := needed - value.keys():
        raise ValueError(f"{_below(where, min(missing))} is missing")
    found = {name: _read(hints[name], inner, _below(where, name)) for name, inner in value.items()}
    try:
        return kind(**found)
    except ValueError as error:
        raise ValueError(_below(where, str(error))) from error


def _union(members: tuple[Any, ...], value: object, where: str) -> object:
    others = [member for member in members if member is not NoneType]
    if value is None and NoneType in members:
        return None
    if len(others) == 1:
        return _read(others[0], value, where)
    for member in others:
        try:
            return _read(member, value, where)
        except ValueError:
            continue
    raise _wrong(value, where, " or ".join(_PLAIN.get(member, "a list") for member in members))


@lru_cache
def _fields_of(kind: type) -> tuple[dict[str, Any], set[str]]:
    """The types by field, and the fields that must be there."""
    hints = get_type_hints(kind)
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    return {field.name: hints[field.name] for field in fields(kind)}, needed


def _below(where: str, name: str) -> str:
    return f"{where}.{name:.80}" if where else f"{name:.200}"


def _wrong(value: object, where: str, expected: str) -> ValueError:
    return ValueError(f"{where or 'it'} is {_shown(value)}, where {expected} was expected")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value[:40]) if isinstance(value, str) else f"{value!r:.40}"
