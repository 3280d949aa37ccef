"""The metadata of a GGUF file by key, each with the type that it must have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lorahub.errors import CheckpointError

# No dimension of a model is larger.
_MOST = 2**31 - 1


class Metadata:
    """Fields that are checked when they are asked for; what is wrong is named by file and key.

    Every key that was asked for is remembered, so that those that nobody knows can be told.
    """

    def __init__(self, fields: Mapping[str, Any], path: Path) -> None:
        self._fields = fields
        self.path = path
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._fields

    def not_asked(self, prefix: str) -> list[str]:
        """The keys with a prefix that were not asked for, sorted."""
        return sorted(key for key in self._fields if key.startswith(prefix) and key not in self._asked)

    def text(self, key: str, default: str | None = None) -> str | None:
        value = self._get(key)
        return default if value is None else self._checked(key, value, isinstance(value, str), "a string")

    def flag(self, key: str, default: bool | None = None) -> bool | None:
        value = self._get(key)
        return default if value is None else self._checked(key, value, isinstance(value, bool), "true or false")

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        """A whole number from `least` to 2**31 - 1. A key without a default must be there."""
        found = self.whole_or_none(key, least)
        if found is None:
            found = default
        if found is None:
            raise CheckpointError(f"{self.path}: {key} is missing; convert the model again with a current llama.cpp")
        return found

    def whole_or_none(self, key: str, least: int = 0) -> int | None:
        value = self._get(key)
        if value is None:
            return None
        good = type(value) is int and least <= value <= _MOST
        found: int = self._checked(key, value, good, f"a whole number from {least} to {_MOST}")
        return found

    def same_in_all_layers(self, key: str, layers: int, default: int | None = None) -> int:
        """A whole number that may also be given once a layer; layers that differ are refused."""
        value = self._get(key)
        if not isinstance(value, np.ndarray):
            return self.whole(key, default)
        numbers = set(self._checked(key, value, value.dtype.kind in "iu", "whole numbers").tolist())
        if len(value) < layers:
            raise CheckpointError(f"{self.path}: {key} has {len(value)} numbers, but there are {layers} layers")
        if len(numbers) != 1:
            raise CheckpointError(
                f"{self.path}: {key} is {sorted(numbers)!s:.80}: layers that differ in it are not supported"
            )
        return int(self._checked(key, numbers.pop(), 1 <= int(value[0]) <= _MOST, "whole numbers of at least 1"))

    def number(self, key: str, default: float | None = None) -> float | None:
        """A finite number."""
        value = self._get(key)
        if value is None:
            return default
        good = type(value) in (int, float) and math.isfinite(value)
        return float(self._checked(key, value, good, "a finite number"))

    def positive(self, key: str, default: float | None = None) -> float:
        """A finite number above 0. A key without a default must be there."""
        found = self.number(key, default)
        if found is None:
            raise CheckpointError(f"{self.path}: {key} is missing; convert the model again with a current llama.cpp")
        return float(self._checked(key, found, found > 0, "a number above 0"))

    def texts(self, key: str) -> list[str] | None:
        value = self._get(key)
        return None if value is None else self._checked(key, value, isinstance(value, list), "a list of strings")

    def numbers(self, key: str, kinds: str) -> NDArray[Any] | None:
        """A list of numbers whose dtype is of one of these kinds of NumPy's ("iu": whole, "f", "b")."""
        value = self._get(key)
        if value is None:
            return None
        good = isinstance(value, np.ndarray) and value.dtype.kind in kinds
        found: NDArray[Any] = self._checked(key, value, good, "a list of numbers")
        return found

    def _get(self, key: str) -> Any:
        self._asked.add(key)
        return self._fields.get(key)

    def _checked(self, key: str, value: Any, good: bool, what: str) -> Any:
        if not good:
            shown = f"a list of {len(value)}" if isinstance(value, (list, np.ndarray)) else f"{value!r:.80}"
            raise CheckpointError(f"{self.path}: {key} must be {what}, got {shown}")
        return value
