"""Fields of a checkpoint's JSON files, checked; what is wrong is named by file and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError

# No dimension of a model is larger, and arithmetic on larger ones could leave the range of integers.
_MOST = 2**31 - 1


def whole(fields: Mapping[str, Any], key: str, path: Path, default: int | None = None, least: int = 1) -> int:
    """A whole number from `least` to 2**31 - 1; `default` where the key is absent or null."""
    value = fields.get(key)
    if value is None:
        value = default
    if type(value) is not int or not least <= value <= _MOST:
        bound = f"at least {least}" if type(value) is not int or value < least else f"at most {_MOST}"
        raise CheckpointError(f"{path}: {key} must be a whole number of {bound}, got {value!r:.80}")
    return value


def flag(fields: Mapping[str, Any], key: str, path: Path, default: bool | None = None) -> bool | None:
    """true or false; `default` where the key is absent or null."""
    value = fields.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise CheckpointError(f"{path}: {key} must be true or false, got {value!r:.80}")
    return value
