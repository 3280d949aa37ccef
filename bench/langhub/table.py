"""Results of unseen tasks as Markdown: means, every task's figure, and what our search has more than each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .bootstrap import Bools, difference
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
    gain, low, high = difference(_right(found, OURS), _right(found, method))
    return f"{gain:+.1f} | {low:+.1f} to {high:+.1f}"


def _right(found: Results, method: str) -> list[Bools]:
    """Of each task, one draw after the other."""
    return [
        np.array([digit == "1" for value in values for digit in value["right"]]) for values in found[method].values()
    ]
