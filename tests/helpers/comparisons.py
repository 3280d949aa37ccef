"""Comparisons without processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from edge_lorahub.comparison.cell import Cell
from edge_lorahub.comparison.comparing import Comparison, compare
from edge_lorahub.comparison.measure import measure
from edge_lorahub.comparison.plan import Plan
from edge_lorahub.comparison.result import Result
from edge_lorahub.comparison.store import opened

MakePlan = Callable[..., Plan]


class InProcess:
    """The engine in this process. `measured` has the cells that it gave."""

    def __init__(self, most: int | None = None) -> None:
        """most: interrupted after so many cells."""
        self.measured: list[str] = []
        self._most = most

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, Result], None, None]:
        for cell in cells:
            if len(self.measured) == self._most:
                raise KeyboardInterrupt
            self.measured.append(cell.digest)
            yield cell, measure(cell)


def compared(plan: Plan, run: Path, engine: InProcess | None = None) -> Comparison:
    with opened(run) as store:
        return compare(plan, store, engine or InProcess())


def read_results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text())
    return found


def answers_alone(text: str) -> str:
    """A table without its costs, which are measured times."""
    return text.partition("## Cost")[0]
