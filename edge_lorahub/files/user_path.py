"""Paths as users name them."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import MissingPathError, SettingsError


def user_path(path: str | Path) -> Path:
    """A path with ~ and ~name expanded, as a shell does it.

    Raises MissingPathError where there is no such user, and SettingsError for what is no path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise SettingsError(f"a path must be a text or a Path, got {path!r:.80}")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        if (found := Path(path)).exists():
            return found
        raise MissingPathError(
            f"{path}: no such user, and no home folder of theirs; write ./{path} for a file of that name"
        ) from None
