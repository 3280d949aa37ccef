"""Which modules serve which tasks: the mean weight of each module on each task, as a map and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .drawing import COLORS, INK, Spec, draw
from .page import Block, Prose, Table
from .results_file import ComparedMethod, Results
from .shown_text import labels, signed

_MOST_MODULES, _MOST_TASKS = 40, 60
_CELL = 34


def module_map(results: Results, method: ComparedMethod) -> Iterator[Block]:
    """The map of a method with learned weights; nothing where none are recorded."""
    means = _mean_weights(results, method.id)
    if not means:
        return
    known = [task.name for task in results.tasks if any(task.name in by_task for by_task in means.values())]
    tasks = known[:_MOST_TASKS]
    largest = {
        name: max(abs(by_task[task]) for task in tasks if task in by_task)
        for name, by_task in means.items()
        if not by_task.keys().isdisjoint(tasks)
    }
    order = sorted(largest, key=lambda name: (-largest[name], name))
    drawn = order[:_MOST_MODULES]
    modules, columns = labels(drawn), labels(tasks)
    values = [
        {
            "module": modules[name],
            "task": columns[task],
            "size": abs(means[name][task]),
            "sign": "positive" if means[name][task] > 0 else "negative",
            "text": signed(means[name][task], 1),
        }
        for name in drawn
        for task in tasks
        if task in means[name]
    ]
    table = Table(
        f"Mean weight of each module by task, {method.label}; a dash: not drawn for it",
        ("module", *tasks),
        [(name, *(signed(means[name].get(task), 2) for task in tasks)) for name in order],
    )
    weight, name, task = max(
        ((means[name][task], name, task) for name in drawn for task in tasks if task in means[name]),
        key=lambda found: abs(found[0]),
    )
    description = (
        f"{len(drawn)} modules by {len(tasks)} tasks. The largest mean weight is {signed(weight, 2)}, of "
        f"{modules[name]} on {columns[task]}."
    )
    yield draw(
        f"Mean weight over the seeds, {method.label}: blue adds, orange takes away, the stronger the more",
        description,
        _spec(values),
        table,
    )
    if len(tasks) < len(known):
        yield Prose(f"The map and its table have the first {len(tasks)} of {len(known)} tasks.")
    if len(drawn) < len(order):
        yield Prose(
            f"The map has the {len(drawn)} modules with the largest weights; all {len(order)} are in the table."
        )


def _mean_weights(results: Results, method: str) -> dict[str, dict[str, float]]:
    """By module and task, over the seeds that had the module."""
    found: dict[str, dict[str, list[float]]] = {}
    for task in results.tasks:
        for one in task.results:
            for cell in one.cells if one.method == method else ():
                for name, weight in (cell.weights or {}).items():
                    found.setdefault(name, {}).setdefault(task.name, []).append(weight)
    return {name: {task: sum(all_) / len(all_) for task, all_ in by.items()} for name, by in found.items()}


def _spec(values: Sequence[Mapping[str, object]]) -> Spec:
    y: Spec = {"field": "module", "type": "nominal", "sort": None, "title": None}
    x: Spec = {
        "field": "task",
        "type": "nominal",
        "sort": None,
        "axis": {"title": None, "orient": "top", "labelAngle": -40},
    }
    return {
        "width": {"step": _CELL},
        "height": {"step": 20},
        "data": {"values": values},
        "layer": [
            {
                "mark": {"type": "rect", "stroke": "var(--line)", "strokeWidth": 0.5},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": {
                        "field": "sign",
                        "type": "nominal",
                        "legend": None,
                        "scale": {"domain": ["positive", "negative"], "range": list(COLORS[:2])},
                    },
                    "opacity": {
                        "field": "size",
                        "type": "quantitative",
                        "legend": None,
                        "scale": {"domainMin": 0, "range": [0, 0.5]},
                    },
                },
            },
            {
                "transform": [{"filter": "datum.size >= 0.05"}],
                "mark": {"type": "text", "fontSize": 10, "color": INK},
                "encoding": {"x": x, "y": y, "text": {"field": "text", "type": "nominal"}},
            },
        ],
    }
