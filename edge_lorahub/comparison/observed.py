"""Scores of a task's inputs by seed, and what one method has more than another on each input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Gains:
    """What is resampled of a task: for each different input its gains over all seeds together, (I,), and their weight.

    Every seed has a total weight of 1, so that sums.sum() / weights.sum() is the mean over seeds of the mean gains.
    """

    sums: Float64
    weights: Float64

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.weights.sum())


def gains(inputs: Sequence[Sequence[str]], ours: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> Gains:
    """inputs: of each seed, as texts. ours and others: the scores of two methods, in the same order."""
    found: dict[str, list[float]] = {}
    for texts, mine, theirs in zip(inputs, ours, others, strict=True):
        for text, one, other in zip(texts, mine, theirs, strict=True):
            total = found.setdefault(text, [0.0, 0.0])
            total[0] += (one - other) / len(texts)
            total[1] += 1 / len(texts)
    sums, weights = np.array(list(found.values())).T
    return Gains(sums, weights)


def means_by_seed(scores: Mapping[int, Sequence[float]]) -> Float64:
    """The mean score of each seed, in percent."""
    return np.array([100 * float(np.mean(one)) for one in scores.values()])
