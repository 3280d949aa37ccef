"""Results of unseen tasks as Markdown: means, every task's figure, and what our search has more than each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_lorahub.comparison.bootstrap import difference
from edge_lorahub.comparison.observed import Gains

from .combine import Results
from .compared import OURS, Value
from .measuring import percent


def tables(found: Results) -> str:
    """The means with the differences, where our search is among the methods, and then the tasks."""
    tasks = list(next(iter(found.values())))
    lines = ["| method | exact match, % | ours has more, points | 95 % interval |", "|---|---:|---:|---:|"]
    for method, by_task in found.items():
        mean = np.mean([percent_of(values) for values in by_task.values()])
        lines.append(f"| {method} | {mean:.1f} | {_more(found, method)} |")
    lines += ["", "| task | " + " | ".join(found) + " |", "|---|" + "---:|" * len(found)]
    for task in tasks:
        figures = (f"{percent_of(by_task[task]):.1f}" for by_task in found.values())
        lines.append(f"| {task} | " + " | ".join(figures) + " |")
    return "\n".join(lines) + "\n"


def percent_of(values: Sequence[Value]) -> float:
    """The mean over the draws of examples."""
    return float(np.mean([percent(value) for value in values]))


def _more(found: Results, method: str) -> str:
    if OURS not in found or method == OURS:
        return "| "
    whole = difference([_gains(found[OURS][task], found[method][task]) for task in found[OURS]])
    return f"{whole.points:+.1f} | {whole.low:+.1f} to {whole.high:+.1f}"


def _gains(ours: Sequence[Value], others: Sequence[Value]) -> Gains:
    """Of a task, one draw after the other: no two draws have an input in common."""
    mine, theirs = (np.array([digit == "1" for one in values for digit in one["right"]]) for values in (ours, others))
    return Gains(mine.astype(np.float64) - theirs, np.ones(len(mine)))
