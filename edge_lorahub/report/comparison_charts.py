"""The charts of a comparison's page: scores, differences with their intervals, and searches, for a task or for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .drawing import COLORS, INK, SOFT, Spec, draw
from .page import Figure, Table
from .results_file import SAYS, ComparedTask, Difference, Results, TaskDifference
from .shown_text import interval, labels, number, signed

_ROW = 26
_WIDTH, _WIDTH_OF_TASK = 380, 170
_PERCENT: Spec = {"type": "quantitative", "axis": {"title": "score, %", "orient": "top", "tickCount": 5}}


def score_chart(results: Results) -> Figure:
    """All methods: the mean, the best seeds, and a standard deviation to each side."""
    names = {method.id: method.label for method in results.methods}
    short = labels((one.method for one in results.summary), names)
    values: list[dict[str, object]] = [
        {
            "method": short[one.method],
            "mean": one.mean_percent,
            "best": one.best_percent,
            **_spread(one.mean_percent, one.sd_percent),
        }
        for one in results.summary
    ]
    spec = _score_spec(_WIDTH, values, [])
    layers = list(spec["layer"])
    best = {
        "mark": {"type": "tick", "color": COLORS[1], "thickness": 3, "size": 14, "opacity": 1},
        "encoding": {"y": _method_axis(), "x": {"field": "best", **_PERCENT}},
    }
    top = max(results.summary, key=lambda one: one.mean_percent)
    return draw(
        "Scores of all methods: mean, one standard deviation over seeds to each side, and the best seeds (upright)",
        f"{len(values)} methods. The highest mean is {number(top.mean_percent, 1)} percent, of {names[top.method]}.",
        {**spec, "layer": [*layers, best]},
    )


def task_chart(task: ComparedTask, names: Mapping[str, str], table: Table) -> Figure:
    """A task's scores: seeds, their mean, and a standard deviation to each side."""
    short = labels((one.method for one in task.results), names)
    values: list[dict[str, object]] = []
    seeds: list[dict[str, object]] = []
    for one in task.results:
        label = short[one.method]
        values.append({"method": label, "mean": one.mean_percent, **_spread(one.mean_percent, one.sd_percent)})
        seeds += [{"method": label, "score": cell.score_percent} for cell in one.cells]
    top = max(task.results, key=lambda one: one.mean_percent, default=None)
    told = "" if top is None else f" The highest mean is {number(top.mean_percent, 1)} percent, of {names[top.method]}."
    description = f"Scores of {len(values)} methods on {task.name}.{told}"
    return draw("Scores", description, _score_spec(_WIDTH_OF_TASK, values, seeds), table)


def _spread(mean: float, sd: float | None) -> dict[str, object]:
    return {} if sd is None else {"low": max(0.0, mean - sd), "high": min(100.0, mean + sd)}


def _method_axis() -> dict[str, object]:
    return {"field": "method", "type": "nominal", "sort": None, "title": None}


def _score_spec(width: int, values: Sequence[Mapping[str, object]], seeds: Sequence[Mapping[str, object]]) -> Spec:
    x = {**_PERCENT, "scale": {"domain": [0, 100]}}
    y = _method_axis()
    return {
        "width": width,
        "height": {"step": _ROW},
        "data": {"values": values},
        "layer": [
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "color": COLORS[0], "strokeWidth": 2},
                "encoding": {"y": y, "x": {"field": "low", **x}, "x2": {"field": "high"}},
            },
            {
                "data": {"values": seeds},
                "mark": {"type": "point", "size": 22, "color": SOFT, "strokeWidth": 1},
                "encoding": {"y": y, "x": {"field": "score", **x}},
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 70, "color": COLORS[0]},
                "encoding": {"y": y, "x": {"field": "mean", **x}},
            },
        ],
    }


def difference_chart(
    results: Results, method: str, rows: Sequence[tuple[str, Difference | TaskDifference]], task: str | None = None
) -> Figure:
    """What learned weights have more than each other method, with the interval of that; on a task, or on all.

    method: the learned weights'. rows: the other method, and the difference to it.
    """
    names = {one.id: one.label for one in results.methods}
    short = labels((against for against, _ in rows), names)
    values = [
        {"row": short[against], "points": one.points, "low": one.low, "high": one.high, "says": one.says}
        for against, one in rows
    ]
    y: Spec = {"field": "row", "type": "nominal", "sort": None, "title": None}
    x: Spec = {
        "type": "quantitative", "axis": {"title": "percentage points more", "orient": "top", "tickCount": 5}
    }  # fmt: skip
    says: Spec = {
        "field": "says", "type": "nominal", "title": None,
        "scale": {"domain": list(SAYS), "range": ["var(--better)", "var(--worse)", SOFT]},
        "legend": None if task else {},
    }  # fmt: skip
    spec: Spec = {
        "width": _WIDTH_OF_TASK if task else _WIDTH,
        "height": {"step": _ROW},
        "data": {"values": values},
        "layer": [
            {"mark": {"type": "rule", "color": INK, "strokeDash": [4, 3]}, "encoding": {"x": {"datum": 0}}},
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"y": y, "x": {"field": "low", **x}, "x2": {"field": "high"}, "color": says},
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 70},
                "encoding": {
                    "y": y, "x": {"field": "points", **x}, "color": says,
                    "shape": {**says, "scale": {"domain": list(SAYS), "range": ["circle", "diamond", "square"]}},
                },
            },
        ],
    }  # fmt: skip
    better, worse = (sum(one.says == says for _, one in rows) for says in ("better", "worse"))
    description = (
        f"{names[method]} against {len(rows)} other methods on {task or 'all tasks'}: {better} times better, "
        f"{worse} times worse, otherwise not distinguishable."
    )
    table = None if task is None else _difference_table(names, method, rows, task)
    title = f"{names[method][:1].upper()}{names[method][1:]} minus each other method"
    return draw(title, description, spec, table)


def _difference_table(
    names: Mapping[str, str], method: str, rows: Sequence[tuple[str, Difference | TaskDifference]], task: str
) -> Table:
    return Table(
        f"{names[method]} minus each other method on {task}, in percentage points",
        ("against", "points", "95 % interval", "says"),
        [(names[against], signed(one.points, 1), interval(one.low, one.high, 1), one.says) for against, one in rows],
    )


def trace_chart(task: ComparedTask, names: Mapping[str, str]) -> Figure | None:
    """The least loss so far by candidate, a line a seed; None where no search is recorded."""
    searched = [one for one in task.results if any(cell.trace for cell in one.cells)]
    if not searched:
        return None
    short = labels((one.method for one in searched), names)
    values = [
        {"method": short[one.method], "line": f"{place} {cell.seed}", "candidate": number_, "loss": loss}
        for place, one in enumerate(searched)
        for cell in one.cells
        for number_, loss in _steps(cell.trace or ())
    ]
    domain = list(short.values())
    spec: Spec = {
        "width": _WIDTH_OF_TASK + 90,
        "height": 150,
        "data": {"values": values},
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.2, "opacity": 0.9},
        "encoding": {
            "x": {"field": "candidate", "type": "quantitative", "axis": {"title": "candidate", "grid": False}},
            "y": {"field": "loss", "type": "quantitative", "title": "least loss so far", "scale": {"zero": False}},
            "detail": {"field": "line"},
            "color": {
                "field": "method", "type": "nominal", "title": None, "legend": {"columns": 1},
                "scale": {"domain": domain, "range": [COLORS[place % len(COLORS)] for place in range(len(domain))]},
            },
        },
    }  # fmt: skip
    table = Table(
        f"The least loss of each search on {task.name}",
        ("method", "seed", "candidates", "first", "least"),
        [
            (names[one.method], str(cell.seed), str(len(cell.trace)), number(cell.trace[0]), number(cell.trace[-1]))
            for one in searched
            for cell in one.cells
            if cell.trace
        ],
    )
    return draw("Least loss so far, a line a seed", f"Searches on {task.name}, by candidate.", spec, table)


def _steps(trace: Sequence[float]) -> list[tuple[int, float]]:
    """The candidates at which a trace falls, its first and its last: all that a line of steps needs."""
    last = len(trace) - 1
    return [(place + 1, loss) for place, loss in enumerate(trace) if place in (0, last) or loss != trace[place - 1]]
