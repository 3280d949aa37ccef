"""What a search found, as its surrogate sees it: no candidate is evaluated for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .newton import Penalty, minimize
from .surrogate import Labels, Surrogate

Float64 = NDArray[np.float64]
# How far from what was learned the weights without one example are looked for.
_BOX = 0.8
# Student's t, two-sided 95 %, for 1 to 10 degrees of freedom; the last serves for more.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Explanation:
    """In nats of the mean token cross-entropy, all as predicted by the surrogate.

    contributions (N, 3): how much the loss rises when a module is left out, and the 95 % interval of that over the
    examples (Student's t; not a number for a single example); 0 for a module of weight 0. left_out (E,): each
    example's loss at the weights of the same modules that suit the others best; nothing for a single example.
    plain (E,): the plain model's.
    """

    contributions: Float64
    left_out: Float64
    plain: Float64

    @property
    def disagreeing(self) -> list[int]:
        """The examples that the others' weights serve worse than the plain model does, by place."""
        return [int(e) for e in np.flatnonzero(self.left_out > self.plain[: len(self.left_out)])]


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
    room = np.where(weights == 0, 0, _BOX)  # of the modules that were chosen
    low, high = np.maximum(weights - room, -bound), np.minimum(weights + room, bound)
    for example in range(len(left_out)):
        others, _ = minimize(surrogate, labels.without(example), penalty, weights, low, high)
        left_out[example] = _by_example(surrogate, labels, others)[example]
    return Explanation(contributions, left_out, _by_example(surrogate, labels, np.zeros_like(weights)))


def _by_example(surrogate: Surrogate, labels: Labels, w: Float64) -> Float64:
    """Each example's mean token cross-entropy at w, (E,)."""
    losses = surrogate.position_losses(w)
    tokens = np.bincount(labels.owners)
    result: Float64 = np.bincount(labels.owners, losses) / tokens
    return result
