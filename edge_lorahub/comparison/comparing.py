"""A comparison from its plan to what it says: what is missing is measured, and kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import warn
from .cell import Cell
from .compared_methods import RANDOM
from .engine import Engine
from .markdown_table import table
from .measured import Difference, Measured
from .plan import Plan
from .result import Result
from .results import results
from .store import Store
from .verdict import notes, verdicts


class Progress(Protocol):
    """Told what is known at first, and of every cell that was measured."""

    def __call__(self, cell: Cell | None, known: int, total: int) -> None: ...


@dataclass(frozen=True)
class Comparison:
    """What a comparison found, and what it says."""

    measured: Measured
    differences: list[Difference]
    verdicts: list[str]
    notes: list[str]
    results: Mapping[str, Any]
    table: str


def compare(
    plan: Plan, store: Store, engine: Engine, progress: Progress = lambda cell, known, total: None
) -> Comparison:
    """Measures what the store does not know of a plan's cells, and writes what all of them say.

    Warns of damaged cells, and once of everything that the runtime warned of. Raises what the engine raises, and
    NotWritableError or OutputFailedError for a store that takes no more; every cell that was measured stays.
    """
    cells = plan.cells
    plan.metric.check(cells[0].inputs[0])
    store.begin(plan.record, [task.name for task in plan.tasks], plan.seeds, cells)
    known: dict[str, Result] = {}
    for cell in cells:
        if (found := store.get(cell)) is not None:
            known[cell.digest] = found
    progress(None, len(known), len(cells))
    missing = [cell for cell in cells if cell.digest not in known]
    if missing:
        _measure(missing, len(cells), known, store, engine, progress)
    warned = _warned(cells, known)
    for text in warned:
        warn(text)
    return _said(plan, store, known, warned)


def _warned(cells: Sequence[Cell], known: Mapping[str, Result]) -> list[str]:
    """What the runtime warned of, each once with where. That random modules gain nothing is what they are for."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        for text in known[cell.digest].warnings if cell.method.kind != RANDOM else ():
            found.setdefault(text, []).append(cell)
    return [
        f"{where[0].name}{f' and {len(where) - 1} more' if len(where) > 1 else ''}: {text}"
        for text, where in found.items()
    ]


def _measure(
    missing: list[Cell], total: int, known: dict[str, Result], store: Store, engine: Engine,
    progress: Progress,
) -> None:  # fmt: skip
    # so that nothing goes on running after an error of the store
    with closing(engine.run(missing)) as running:
        for cell, result in running:
            store.put(cell, result)
            known[cell.digest] = result
            progress(cell, len(known), total)


def _said(plan: Plan, store: Store, known: Mapping[str, Result], warned: Sequence[str]) -> Comparison:
    measured = Measured(
        [task.name for task in plan.tasks],
        plan.methods,
        plan.seeds,
        {(cell.task, cell.method.id, cell.seed): (cell, known[cell.digest]) for cell in plan.cells},
        plan.metric,
    )
    differences = measured.differences()
    said = verdicts(differences, searches=len({one.method.id for one in differences}))
    beside = notes(measured, plan)
    found = results(plan, measured, differences, said, beside, warned)
    text = table(measured, differences, said, beside, plan.metric.name)
    store.finish(found, text)
    return Comparison(measured, differences, said, beside, found, text)
