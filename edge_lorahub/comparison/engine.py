"""The seam between a comparison and what runs its cells: processes of this machine, or others."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol

from .cell import Cell
from .result import Result


class Engine(Protocol):
    """Runs `measure.measure` on cells, wherever it likes."""

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, Result], None, None]:
        """Every cell with its result, each as soon as it is there, in any order.

        Cells that come one after the other have the most in common. Raises what measuring a cell raises, with the cell
        named; what was given before stays right. When the generator is closed, nothing goes on running.
        """
        ...
