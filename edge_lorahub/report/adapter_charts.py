"""The charts of an adapter's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..composition.record import Contribution, Record
from .drawing import COLORS, INK, SOFT, Spec, draw
from .page import Block, Figure, Prose, Table
from .shown_text import interval, labels, number, signed

# Marks of a chart, beyond which it is thinned, and bars.
_MOST_MARKS, _MOST_BARS = 1_000, 40
# Losses whose largest is so many times the least are shown on a logarithmic scale.
_WIDE = 20


def loss_chart(record: Record, table: Table) -> Iterator[Block]:
    """Every candidate's loss by its phase, the predicted ones, and the least so far."""
    marks: list[dict[str, object]] = []
    least: list[dict[str, object]] = []
    best: float | None = None
    for place, tried in enumerate(record.trace, 1):
        if tried.loss is not None:
            marks.append({"candidate": place, "loss": tried.loss, "what": f"evaluated: {tried.phase}"})
            if best is None or tried.loss < best:
                best = tried.loss
                least.append({"candidate": place, "loss": best})
        if tried.predicted is not None:
            marks.append({"candidate": place, "loss": tried.predicted, "what": "predicted by the surrogate"})
    if best is None:
        yield Prose("No candidate has a loss.")
        return
    least.append({"candidate": len(record.trace), "loss": best})
    thinned = _thinned(marks)
    names = sorted({str(mark["what"]) for mark in marks})
    short = labels(names)
    for mark in thinned:
        mark["what"] = short[str(mark["what"])]
    losses = [float(str(mark["loss"])) for mark in marks]
    wide = min(losses) > 0 and max(losses) > _WIDE * min(losses)
    x: Spec = {
        "field": "candidate", "type": "quantitative", "scale": {"nice": False, "zero": False},
        "axis": {"title": "candidate", "grid": False, "tickMinStep": 1, "format": "d"},
    }  # fmt: skip
    y: Spec = {
        "field": "loss", "type": "quantitative", "title": f"loss with regularization{', logarithmic' if wide else ''}",
        "scale": {"type": "log", "nice": False} if wide else {"zero": False},
    }  # fmt: skip
    what = {"field": "what", "type": "nominal", "title": None}
    domain = list(short.values())
    spec: Spec = {
        "width": 600,
        "height": 300,
        "layer": [
            {
                "data": {"values": least},
                "mark": {"type": "line", "interpolate": "step-after", "color": INK, "strokeWidth": 1.5},
                "encoding": {"x": x, "y": y},
            },
            {
                "data": {"values": thinned},
                "mark": {"type": "point", "size": 34, "strokeWidth": 1.4},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": {**what, "scale": {"domain": domain, "range": _cycled(COLORS, domain)}},
                    "shape": {**what, "scale": {"domain": domain, "range": _cycled(_SHAPES, domain)}},
                },
            },
        ],
    }
    started = record.trace[0].loss
    description = (
        f"{len(record.trace)} candidates. "
        + (f"The first has a loss of {number(started)}. " if started is not None else "")
        + f"The least, {number(best)}, is candidate {least[-2]['candidate']}'s. The line is the least so far."
    )
    yield draw("Loss of each candidate; the line is the least so far", description, spec, table)
    if len(thinned) < len(marks):
        yield Prose(f"Of {len(marks):,} marks the chart has {len(thinned):,}, evenly taken; the line is complete.")


_SHAPES = ("circle", "cross", "triangle-up", "square", "diamond", "triangle-down")


def _cycled(values: Sequence[str], domain: Sequence[str]) -> list[str]:
    return [values[place % len(values)] for place in range(len(domain))]


def _thinned(marks: list[dict[str, object]]) -> list[dict[str, object]]:
    step = -(-len(marks) // _MOST_MARKS)
    return [dict(mark) for mark in marks[:: max(1, step)]]


def weight_chart(ordered: Sequence[tuple[str, float]], table: Table) -> Iterator[Figure | Prose]:
    """Bars, the largest first; ordered: names and weights."""
    drawn = [(name, weight) for name, weight in ordered if weight][:_MOST_BARS]
    if not drawn:
        yield Prose("All weights are 0: the adapter is the plain model.")
        return
    short = labels(name for name, _ in drawn)
    values = [
        {"module": short[name], "weight": weight, "sign": "adds" if weight > 0 else "takes away"}
        for name, weight in drawn
    ]
    spec: Spec = {
        "width": 420,
        "height": {"step": 19},
        "data": {"values": values},
        "mark": {"type": "bar", "height": 13},
        "encoding": {
            "y": {"field": "module", "type": "nominal", "sort": None, "title": None},
            "x": {"field": "weight", "type": "quantitative", "axis": {"title": "weight", "orient": "top"}},
            "color": {
                "field": "sign",
                "type": "nominal",
                "legend": None,
                "scale": {"domain": ["adds", "takes away"], "range": list(COLORS[:2])},
            },
        },
    }
    most = ", ".join(f"{short[name]} {signed(weight)}" for name, weight in drawn[:5])
    yield draw("Weight of each module", f"Bars by the size of the weight. The largest: {most}.", spec, table)
    rest = sum(bool(weight) for _, weight in ordered) - len(drawn)
    if rest > 0:
        yield Prose(f"The chart has the {_MOST_BARS} largest weights; {rest} more are in the table.")


def contribution_chart(explained: Mapping[str, Contribution]) -> Iterator[Block]:
    """How much the loss rises without each module, with the interval of that."""
    ordered = sorted(
        ((name, one) for name, one in explained.items() if one.loss_without_it is not None),
        key=lambda item: (-abs(item[1].loss_without_it or 0.0), item[0]),
    )
    drawn = ordered[:_MOST_BARS]
    if not drawn:
        return
    short = labels(name for name, _ in drawn)
    values = [
        {"module": short[name], "rise": one.loss_without_it, "low": one.low, "high": one.high} for name, one in drawn
    ]
    y: Spec = {"field": "module", "type": "nominal", "sort": None, "title": None}
    x: Spec = {"type": "quantitative", "axis": {"title": "the loss rises by, without it", "orient": "top"}}
    spec: Spec = {
        "width": 420,
        "height": {"step": 19},
        "data": {"values": values},
        "layer": [
            {"mark": {"type": "rule", "color": SOFT, "strokeDash": [4, 3]}, "encoding": {"x": {"datum": 0}}},
            {
                "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
                "mark": {"type": "rule", "strokeWidth": 2, "color": COLORS[0]},
                "encoding": {"y": y, "x": {"field": "low", **x}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1, "color": COLORS[0]},
                "encoding": {"y": y, "x": {"field": "rise", **x}},
            },
        ],
    }  # fmt: skip
    most = ", ".join(f"{short[name]} {signed(one.loss_without_it)}" for name, one in drawn[:5])
    table = Table(
        "Contribution of each module with a weight, in nats",
        ("module", "loss without it", "95 % interval"),
        [(name, signed(one.loss_without_it), interval(one.low, one.high)) for name, one in ordered],
    )
    yield draw(
        "Contribution of each module, with its 95 % interval",
        f"Points are how much the loss rises without a module, lines the 95 % interval. The largest: {most}.",
        spec,
        table,
    )
