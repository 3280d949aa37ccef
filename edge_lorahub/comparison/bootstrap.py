"""Intervals of what one method has more than another, by paired resampling of tasks and of inputs within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .observed import Gains

RESAMPLES = 10_000
_LEVELS = (2.5, 97.5)
# Places that are drawn at once: so many take 80 MB.
_AT_ONCE = 10_000_000

Float64 = NDArray[np.float64]
BETTER, WORSE, NEITHER = "better", "worse", "not distinguishable"


@dataclass(frozen=True)
class Interval:
    """A mean difference in percentage points, and the ends of its 95 % interval."""

    points: float
    low: float
    high: float

    @property
    def says(self) -> str:
        """Whether the interval lies on one side of zero."""
        return BETTER if self.low > 0 else WORSE if self.high < 0 else NEITHER


def difference(tasks: Sequence[Gains], seed: int = 1) -> Interval:
    """The mean gain over the tasks, each of which counts the same.

    Tasks are drawn with replacement, and within each drawn task its inputs; an input's gains under all seeds stay
    together, and a task that is drawn twice has the same inputs both times. Of a single task only the inputs are drawn.
    """
    rng = np.random.default_rng(seed)
    means = np.array([_means(one, rng) for one in tasks])  # (T, R)
    drawn = rng.integers(len(tasks), size=(RESAMPLES, len(tasks)))
    totals = means[drawn, np.arange(RESAMPLES)[:, None]].mean(axis=1)
    low, high = np.percentile(100 * totals, _LEVELS)
    return Interval(100 * float(np.mean([one.mean for one in tasks])), float(low), float(high))


def _means(one: Gains, rng: np.random.Generator) -> Float64:
    """The mean gain of every resample of a task's inputs, (R,)."""
    count, rows = len(one.sums), max(1, _AT_ONCE // len(one.sums))
    means: Float64 = np.empty(RESAMPLES)
    for begin in range(0, RESAMPLES, rows):
        places = rng.integers(count, size=(min(rows, RESAMPLES - begin), count))
        means[begin : begin + rows] = one.sums[places].sum(axis=1) / one.weights[places].sum(axis=1)
    return means
