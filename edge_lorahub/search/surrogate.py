"""A surrogate of the label logits: what a candidate's logits would be, from those of the candidates evaluated.

Kernel regression, the mean of a Gaussian process with many outputs (Rasmussen and Williams, "Gaussian Processes for
Machine Learning", 2006, equation 2.25). The n candidates W (n, N) have logits Z (n, D), and

    z(w) = z_0 + k(w, W) alpha,    alpha = (k(W, W) + noise I)^-1 (Z - z_0)
    k(u, v) = constant + u.v + height exp(-|R (u - v)|^2 / (2 width^2))

with z_0 the plain model's. In exact composition the logits answer almost linearly to small weights, which u.v learns
from one probe a module; the Gaussian learns what bends. Cross-entropy of linear logits is convex.

R = diag(reach) makes distances those that the logits see: along a module that moves them far they bend sooner, and one
that does nothing is no dimension at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# Chosen by measurement on the development tasks of the embedded hub:
# docs/decisions/017-surrogate-of-the-label-logits.md.
WIDTH, HEIGHT = 2.0, 3.0
CONSTANT = 10.0
NOISE = 1e-5
# A module that moves the logits much farther than the others would make the rest look alike.
_FARTHEST = 3.0
# A position's weight in the loss, where one that has none would be divided by.
_TINY = 1e-30


@dataclass(frozen=True)
class Labels:
    """What makes a loss of compact logits: the cross-entropy at each position (the label's column is 0), weighted.

    weights (T,): of a position in the loss; owners (T,): the example that a position belongs to.
    """

    weights: Float64
    owners: NDArray[np.intp]

    @classmethod
    def of(cls, counts: Float64) -> Labels:
        """For the mean over examples of their mean over label tokens; counts (E,): the label tokens of each."""
        lengths = counts.astype(np.intp)
        return cls(np.repeat(1 / lengths / len(lengths), lengths), np.repeat(np.arange(len(lengths)), lengths))

    def without(self, example: int) -> Labels:
        """The mean over all other examples."""
        count = self.owners.max() + 1
        return Labels(np.where(self.owners == example, 0, self.weights * count / (count - 1)), self.owners)


class Surrogate:
    """Compact logits as a function of w, fitted to candidates that were evaluated; and their loss."""

    def __init__(self, weights: Float64, logits: Float64, reach: Float64) -> None:
        """weights (n, N), the plain model's w = 0 first; logits (n, T, K); reach (N,)."""
        self._weights = weights
        self.reach = reach
        self._reached = weights * reach
        self._shape = logits.shape[1:]
        flat = logits.reshape(len(logits), -1)
        self._plain = flat[0]
        squares = (self._reached**2).sum(axis=1)
        squares = squares[:, None] + squares - 2 * self._reached @ self._reached.T
        kernel = CONSTANT + weights @ weights.T + HEIGHT * np.exp(np.maximum(squares, 0) / (-2 * WIDTH**2))
        kernel[np.diag_indices(len(kernel))] += NOISE
        # by the inverse, which is small: to solve for so many outputs at once takes NumPy several times as long
        inverse = np.linalg.inv(kernel)
        inverse[:, 0] -= inverse.sum(axis=1)  # takes z_0 from every row without a copy of them all
        self._alpha = inverse @ flat  # (n, D)

    def _gaussian(self, w: Float64) -> tuple[Float64, Float64]:
        """R (W - w), (n, N), and k's Gaussian of them, (n,)."""
        steps = self._reached - w * self.reach
        return steps, HEIGHT * np.exp(np.einsum("nm,nm->n", steps, steps) / (-2 * WIDTH**2))

    def logits(self, w: Float64) -> Float64:
        """w (N,) -> (T, K)."""
        kernel = CONSTANT + self._weights @ w + self._gaussian(w)[1]
        result: Float64 = (self._plain + kernel @ self._alpha).reshape(self._shape)
        return result

    def position_losses(self, w: Float64) -> Float64:
        """The cross-entropy at each position, (T,)."""
        return self._softmax(w)[0]

    def _softmax(self, w: Float64) -> tuple[Float64, Float64]:
        """The cross-entropy at each position, (T,), and the probabilities, (T, K)."""
        logits = self.logits(w)
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        total = shares.sum(axis=1, keepdims=True)
        shares /= total
        return np.log(total[:, 0]) - logits[:, 0], shares

    def loss(self, w: Float64, labels: Labels) -> tuple[float, Float64]:
        """The loss at w (N,), and its gradient by the logits, (T, K)."""
        losses, shares = self._softmax(w)
        loss = float(labels.weights @ losses)
        shares[:, 0] -= 1
        shares *= labels.weights[:, None]
        return loss, shares

    def gradient(self, w: Float64, by_logits: Float64) -> Float64:
        """From the gradient by the logits (T, K) to that by w, (N,)."""
        gradient: Float64 = self._kernel_slopes(w).T @ (self._alpha @ by_logits.ravel())
        return gradient

    def curvature(self, w: Float64, by_logits: Float64, labels: Labels, members: NDArray[np.intp]) -> Float64:
        """The loss's Gauss-Newton matrix at w in some of the weights, members (F,) -> (F, F), positive semidefinite.

        J^T H J with J the logits' derivative by w and H = diag(p) - p p^T, the cross-entropy's Hessian by the
        logits, at every position (Schraudolph, Neural Computation 14, 2002): the covariance of J under p.
        """
        derivative = (self._kernel_slopes(w)[:, members].T @ self._alpha).reshape(len(members), *self._shape)
        shares = by_logits.copy()  # weight * p
        shares[:, 0] += labels.weights
        means = np.einsum("ftk,tk->ft", derivative, shares / np.maximum(labels.weights, _TINY)[:, None])
        derivative -= means[:, :, None]
        # rounding may leave the label less than nothing
        derivative *= np.sqrt(np.maximum(shares, 0))
        rows = derivative.reshape(len(members), -1)
        matrix: Float64 = rows @ rows.T
        return matrix

    def _kernel_slopes(self, w: Float64) -> Float64:
        """The derivative of k(w, W) by w: (n, N)."""
        steps, gaussian = self._gaussian(w)
        slopes: Float64 = self._weights + steps * (gaussian[:, None] / WIDTH**2 * self.reach)
        return slopes


def reaches(weights: Float64, logits: Float64) -> Float64:
    """How far each module moves the logits, beside the others, from the candidates in which it is alone: (N,).

    weights (n, N), the plain model's first; logits (n, T, K). Far is the standard deviation of the change over the
    tokens, by their probabilities: what moves unlikely tokens, or all of them alike, changes nothing. The root of that,
    in parts of the root mean square over the modules; 1 for a module that was not tried alone.
    """
    plain = logits[0]
    far = np.full(weights.shape[1], np.nan)
    for w, moved in zip(weights, logits, strict=True):
        alone = np.flatnonzero(w)
        if len(alone) == 1 and np.isnan(far[alone[0]]):
            both = np.stack([plain, moved])
            shares = np.exp(both - np.logaddexp.reduce(both, axis=2, keepdims=True)).mean(axis=0)  # (T, K)
            change = moved - plain
            change = change - (shares * change).sum(axis=1, keepdims=True)
            far[alone[0]] = np.sqrt((shares * change**2).sum(axis=1).mean()) / abs(w[alone[0]])
    known = far[~np.isnan(far)]
    scale = np.sqrt((known**2).mean()) if known.any() else 1.0
    return np.where(np.isnan(far), 1.0, np.minimum(np.sqrt(far / scale), _FARTHEST))
