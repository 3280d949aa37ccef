"""Intervals of what one method has more than another, by paired resampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 10_000
_LEVELS = (2.5, 97.5)

Bools = NDArray[np.bool_]


def difference(ours: Sequence[Bools], others: Sequence[Bools], seed: int = 1) -> tuple[float, float, float]:
    """The mean difference in points, and the ends of its 95 % interval.

    ours and others: for each task which inputs each method got right, (T,) of (I,), in the same order. Tasks are drawn
    with replacement, and within each drawn task its inputs; a task counts the same however many inputs it has.
    """
    rng = np.random.default_rng(seed)
    gains = [mine.astype(np.float64) - theirs for mine, theirs in zip(ours, others, strict=True)]
    # for each task, the mean of every resample of its inputs: (T, R)
    means = np.array([gain[rng.integers(len(gain), size=(_RESAMPLES, len(gain)))].mean(axis=1) for gain in gains])
    drawn = rng.integers(len(gains), size=(_RESAMPLES, len(gains)))
    totals = means[drawn, np.arange(_RESAMPLES)[:, None]].mean(axis=1)
    low, high = np.percentile(100 * totals, _LEVELS)
    return 100 * float(np.mean([gain.mean() for gain in gains])), float(low), float(high)
