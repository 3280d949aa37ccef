"""A cell measured in a process that must not end by an error: what it raises is given to the process that asked."""

from __future__ import annotations

import os
import traceback

from ..errors import EdgeLorahubError
from ..machine.shortage import ADVICE, is_shortage, shortage
from .cell import Cell
from .result import Result


def outcome(cell: Cell) -> Result | Exception:
    """The cell's result, or what measuring it raised, which another process can read and which names the cell."""
    try:
        from .measure import measure  # the runtime, without which a process can still tell what is missing

        return measure(cell)
    except Exception as error:  # noqa: BLE001  # whatever it is, the process that asked raises it
        return _named(error, cell)


def _named(error: Exception, cell: Cell) -> Exception:
    if is_shortage(error) and not isinstance(error, EdgeLorahubError):
        return shortage(cell.name, ADVICE, error=error)
    if isinstance(error, EdgeLorahubError):
        return type(error)(f"{cell.name}: {error}")
    if isinstance(error, OSError):
        return error  # names the file
    if "EDGE_LORAHUB_TRACEBACK" in os.environ:
        traceback.print_exception(error)
    return RuntimeError(f"{cell.name}: {type(error).__name__}: {error}")
