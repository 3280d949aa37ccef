"""What the local store has under a name that was given where a folder or Hub id is expected."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..errors import EdgeLorahubError
from . import rows
from .index import checked, reading
from .place import store_path


def stored_name(source: str | Path) -> str | None:
    """How to use the module of this name in the local store, as a clause; None where there is none, or no store."""
    name = str(source)
    with suppress(EdgeLorahubError, OSError):  # of the store, which was not asked for
        store = store_path()
        with checked(store), reading(store) as connection:
            if connection is not None and rows.key_of(connection, name) is not None:
                return (
                    f"the local store has a module of that name: `edge-lorahub hub show {name}` says its folder, which "
                    "can be named here, and --hub takes the store's modules where a command has it"
                )
    return None
