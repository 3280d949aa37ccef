"""Where the local store of modules lies."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

from ..errors import SettingsError, StoreError
from ..files.user_path import user_path

# Names the store's folder where no option does.
VARIABLE = "EDGE_LORAHUB_HUB"


def is_named(given: str | Path | None = None) -> bool:
    """Whether the user has named the store, by an option or the variable."""
    return given is not None or bool(os.environ.get(VARIABLE))


def store_path(given: str | Path | None = None) -> Path:
    """The store's folder, which need not be there yet: the one that is given, the variable's, or the user's own.

    Raises StoreError where something else lies there, and SettingsError for an empty path.
    """
    if given == "":
        raise SettingsError("the store's folder is an empty text; name a folder")
    if given is None:
        given = os.environ.get(VARIABLE) or Path(user_data_path("edge-lorahub")) / "hub"
    path = user_path(given).absolute()
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path}: a file, where the store's folder was expected")
    return path
