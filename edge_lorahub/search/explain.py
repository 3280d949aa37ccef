"""What a search found, as its surrogate sees it; what it suspects of an example is evaluated before it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .newton import Penalty, minimize
from .surrogate import Labels, Surrogate

Float64 = NDArray[np.float64]
# How far from what was learned the weights without one example are looked for (docs/explanation/search.md).
_BOX = 0.4
# At most so many suspected examples are checked, those that look worst; the candidates that each takes; and by how much
# the box shrinks when less than a share of what the surrogate promised came.
_MOST_CHECKED, CHECKS = 10, 3
_SHRINK, _POOR = 0.6, 0.2
# Student's t, two-sided 95 %, for 1 to 10 degrees of freedom; the last serves for more.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Explanation:
    """In nats of the mean token cross-entropy, as predicted by the surrogate, but for the examples that were checked.

    contributions (N, 3): how much the loss rises when a module is left out, and the 95 % interval of that over the
    examples (Student's t; not a number for a single example); 0 for a module of weight 0. left_out (E,): each
    example's loss at the weights of the same modules that suit the others best; nothing for a single example.
    plain (E,): the plain model's. checked: the examples, by place, of which left_out was evaluated.
    """

    contributions: Float64
    left_out: Float64
    plain: Float64
    checked: tuple[int, ...] = ()

    @property
    def disagreeing(self) -> list[int]:
        """The examples that the others' weights really serve worse than the plain model does, by place."""
        return [example for example in self.checked if self.left_out[example] > self.plain[example]]


def explain(surrogate: Surrogate, labels: Labels, penalty: Penalty, weights: Float64, bound: float) -> Explanation:
    """Explains weights (N,) near candidates that the surrogate has seen. bound: every weight stays within +-bound."""
    chosen = _by_example(surrogate, labels, weights)
    count = len(chosen)
    contributions = np.zeros((len(weights), 3))
    for module in np.flatnonzero(weights):
        without = weights.copy()
        without[module] = 0
        rises = _by_example(surrogate, labels, without) - chosen
        half = _T[min(count - 1, len(_T)) - 1] * rises.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
        contributions[module] = rises.mean() + half * np.array([0, -1, 1]) if count > 1 else (rises[0], half, half)
    left_out = np.empty(count if count > 1 else 0)
    low, high = _box(weights, _BOX, bound)
    for example in range(len(left_out)):
        others, _ = minimize(surrogate, labels.without(example), penalty, weights, low, high)
        left_out[example] = _by_example(surrogate, labels, others)[example]
    return Explanation(contributions, left_out, _by_example(surrogate, labels, np.zeros_like(weights)))


def check(
    told: Explanation, surrogate: Callable[[], Surrogate], labels: Labels, penalty: Penalty, weights: Float64,
    losses: Float64, bound: float, evaluate: Callable[[Float64], Float64],
) -> Explanation:  # fmt: skip
    """Evaluates what the surrogate, which has learned near the weights alone, suspects of examples: it is often wrong.

    losses (E,): at the weights explained, (N,). evaluate gives the examples' losses of a candidate, (N,) -> (E,);
    surrogate has learned from it afterwards.
    """
    excess = told.left_out - told.plain[: len(told.left_out)]
    suspected = [int(e) for e in np.argsort(-excess, kind="stable")[:_MOST_CHECKED] if excess[e] > 0]
    left_out = told.left_out.copy()
    for example in suspected:
        rest = labels.without(example)
        others = np.arange(len(losses)) != example
        best, seen = weights, losses
        least, half = float(losses[others].mean()) + penalty(weights), _BOX
        for _ in range(CHECKS):
            w, predicted = minimize(surrogate(), rest, penalty, best, *_box(best, half, bound))
            found = evaluate(w)
            value = float(found[others].mean()) + penalty(w)
            if not least - value >= _POOR * (least - predicted):
                half *= _SHRINK
            if value < least:
                best, seen, least = w, found, value
        left_out[example] = seen[example]
    return replace(told, left_out=left_out, checked=tuple(sorted(suspected)))


def _box(center: Float64, half: float, bound: float) -> tuple[Float64, Float64]:
    """Around weights (N,), within the bound; a module of weight 0 keeps it."""
    room = np.where(center == 0, 0, half)
    return np.maximum(center - room, -bound), np.minimum(center + room, bound)


def _by_example(surrogate: Surrogate, labels: Labels, w: Float64) -> Float64:
    """Each example's mean token cross-entropy at w, (E,)."""
    losses = surrogate.position_losses(w)
    tokens = np.bincount(labels.owners)
    result: Float64 = np.bincount(labels.owners, losses) / tokens
    return result
