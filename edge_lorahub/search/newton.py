"""The minimum of a surrogate's loss plus an L1 penalty in a box, by Newton steps on the weights that are free.

An orthant-wise method (Andrew and Gao, "Scalable training of L1-regularized log-linear models", ICML 2007) with the
Gauss-Newton matrix in place of L-BFGS's: a step stays on one side of the penalty's kink for every weight, and one that
would cross it ends there. So weights that do not pay for themselves are at the center exactly, as with
soft-thresholding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .surrogate import Labels, Surrogate

Float64 = NDArray[np.float64]

MOST_STEPS = 25
_MOST_TRIALS = 8
# The end: a step that promises to gain less than this share of the objective.
_LEAST_GAIN = 1e-5
# Levenberg-Marquardt's damping, as a share of the mean curvature: at first, at least, and how it falls and grows.
_DAMPING, _LEAST_DAMPING, _EASE, _STIFFEN = 1e-3, 1e-6, 1 / 4, 8


@dataclass(frozen=True)
class Penalty:
    """strength * mean |w - center|, with center (N,)."""

    strength: float
    center: Float64

    def __call__(self, w: Float64) -> float:
        return self.strength * float(np.abs(w - self.center).mean())

    @property
    def slope(self) -> float:
        """Its derivative by a weight above the center."""
        return self.strength / len(self.center)


def minimize(
    surrogate: Surrogate, labels: Labels, penalty: Penalty, start: Float64, low: Float64, high: Float64,
    *, steps: int = MOST_STEPS,
) -> tuple[Float64, float]:  # fmt: skip
    """The weights in [low, high], (N,) each, with the least loss + penalty near start, and that objective.

    steps: at most so many Newton steps.
    """
    w = np.clip(start, low, high)
    loss, by_logits = surrogate.loss(w, labels)
    value = loss + penalty(w)
    damping = _DAMPING
    for _ in range(steps):
        gradient = surrogate.gradient(w, by_logits)
        offset = w - penalty.center
        side = np.sign(offset)
        # at the center: the side to which the loss falls faster than the penalty rises, or none
        leaves = (side == 0) & (np.abs(gradient) > penalty.slope)
        side[leaves] = -np.sign(gradient[leaves])
        slope = gradient + penalty.slope * side
        stuck = ((w <= low) & (slope > 0)) | ((w >= high) & (slope < 0))
        free = np.flatnonzero((side != 0) & ~stuck)
        if not len(free):
            break
        matrix = surrogate.curvature(w, by_logits, labels, free)
        scale = max(float(np.trace(matrix)) / len(free), _LEAST_DAMPING)
        # how far each of the free weights may go: to the center, where the penalty has its kink, and to the box
        lowest = np.where(side > 0, np.maximum(low, penalty.center), low)[free]
        highest = np.where(side < 0, np.minimum(high, penalty.center), high)[free]
        promised = 0.0
        for _ in range(_MOST_TRIALS):
            damped = matrix + damping * scale * np.eye(len(free))
            tried = w.copy()
            tried[free], gain = _step(damped, slope[free], w[free], lowest, highest)
            promised = max(promised, gain)
            loss, tried_by_logits = surrogate.loss(tried, labels)
            gain = value - (loss + penalty(tried))
            if gain > 0:
                break
            damping *= _STIFFEN
        else:
            break
        w, by_logits, value = tried, tried_by_logits, value - gain
        damping = max(damping * _EASE, _LEAST_DAMPING)
        if promised < _LEAST_GAIN * abs(value):
            break
    return w, value


def _step(matrix: Float64, slope: Float64, start: Float64, low: Float64, high: Float64) -> tuple[Float64, float]:
    """Where a quadratic model with this slope (F,) and matrix (F, F) at start has its minimum in [low, high], (F,).

    What would go beyond an end stops there, and the others are solved for anew, until none does. What has stopped does
    not come back, so this is the minimum's neighborhood rather than the minimum. Also how far the model falls without
    the ends.
    """
    step = np.linalg.solve(matrix, slope)
    end: Float64 = start - step
    moving = np.ones(len(slope), bool)
    while (beyond := moving & ((end < low) | (end > high))).any():
        end = np.minimum(np.maximum(end, low), high)
        moving &= ~beyond
        if moving.any():
            rest = slope[moving] + matrix[np.ix_(moving, ~moving)] @ (end - start)[~moving]
            end[moving] = start[moving] - np.linalg.solve(matrix[np.ix_(moving, moving)], rest)
    return end, float(slope @ step) / 2
