"""What commands that died have left in the store: removed by the next one that writes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..files.work_folder import tidy
from . import rows
from .index import checked, writing
from .objects import discard


def settle(store: Path) -> None:
    """Removes the work folders of dead commands, and what they had put among the modules without the index naming it.

    Raises what `index.writing` raises.
    """
    tidy(store)
    with checked(store), writing(store) as connection:
        for key, work in rows.unsettled(connection):
            # its work folder is removed when a command ends, or when it is found dead; without one it is nobody's
            if work and (store / Path(work).name).is_dir():
                continue
            with suppress(OSError):  # what the system does not let go is for the next time
                if not rows.has_object(connection, key):
                    discard(store, key)
                rows.forget(connection, key, work)
