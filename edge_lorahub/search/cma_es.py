"""CMA-ES: the covariance matrix adaptation evolution strategy, without the active update.

The formulas and the constants are those of Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772v1,
with the positive recombination weights alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
# Of the largest eigenvalue: below it rounding would make the covariance's square root a guess.
_LEAST_EIGENVALUE = 1e-14
# The widest axis's standard deviation from which on there is nothing to learn but rounding.
_LEAST_SPREAD = 1e-12


class CmaEs:
    """Minimizes over [-bound, bound]^N, N at least 1. The same seed and ranks give the same candidates."""

    def __init__(
        self,
        dimension: int,
        *,
        population: int,
        step_size: float,
        bound: float,
        seed: int,
        mean: Float64 | None = None,
        covariance: Float64 | None = None,
    ) -> None:
        """population: candidates a generation, lambda. step_size: the first generation's standard deviation.

        mean (N,) and covariance (N, N), symmetric and positive definite: where the search begins, and the shape of its
        first generation; None: 0, and the same in all directions.
        """
        n = dimension
        self.population = population
        self.mean: Float64 = np.zeros(n) if mean is None else mean.copy()
        self.step_size = step_size
        self.covariance: Float64 = np.eye(n) if covariance is None else covariance.copy()
        self.step_path: Float64 = np.zeros(n)
        self.covariance_path: Float64 = np.zeros(n)
        self._bound = bound
        # the legacy generator: its stream is the same in every version of NumPy
        self._random = np.random.RandomState(seed)
        self._generations = 0
        self._decompose()
        # equations 49 and 53
        raw = np.log((population + 1) / 2) - np.log(np.arange(1, population // 2 + 1))
        self._weights: Float64 = raw / raw.sum()
        self._mass = mass = 1 / float((self._weights**2).sum())
        # equations 55 to 58
        self._step_rate = (mass + 2) / (n + mass + 5)
        self._damping = 1 + 2 * max(0.0, np.sqrt((mass - 1) / (n + 1)) - 1) + self._step_rate
        self._path_rate = (4 + mass / n) / (n + 4 + 2 * mass / n)
        self._rank_one = 2 / ((n + 1.3) ** 2 + mass)
        self._rank_mu = min(1 - self._rank_one, 2 * (mass - 2 + 1 / mass) / ((n + 2) ** 2 + mass))
        # the expected length of a standard normal vector
        self._length = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))

    @property
    def parents(self) -> int:
        """mu: how many of a generation's candidates the search learns from. The others need no losses."""
        return len(self._weights)

    def ask(self) -> Float64:
        """A generation, (population, N). What is outside of the bounds is reflected at them."""
        normal = self._random.randn(self.population, len(self.mean))
        return _reflect(self.mean + self.step_size * normal @ self._root, self._bound)

    def tell(self, candidates: Float64, losses: Float64) -> None:
        """Learns from a generation, (population, N), and its losses; inf for one not among the parents.

        Once all candidates are the same to the last digits it learns no more.
        """
        if self._spread < _LEAST_SPREAD:
            return
        self._generations += 1
        best = np.argsort(losses, kind="stable")[: self.parents]
        steps = (candidates[best] - self.mean) / self.step_size
        mean_step = self._weights @ steps
        self.mean = self.mean + self.step_size * mean_step
        # the step size
        rate = self._step_rate
        self.step_path = (1 - rate) * self.step_path + np.sqrt(rate * (2 - rate) * self._mass) * (
            self._inverse_root @ mean_step
        )
        length = float(np.linalg.norm(self.step_path))
        # equations 45 to 47: the covariance. A path that grew too fast waits, lest the axes grow too far
        usual = np.sqrt(1 - (1 - rate) ** (2 * (self._generations + 1))) * (1.4 + 2 / (len(self.mean) + 1))
        follows = float(length < usual * self._length)
        rate = self._path_rate
        self.covariance_path = (1 - rate) * self.covariance_path
        self.covariance_path += follows * np.sqrt(rate * (2 - rate) * self._mass) * mean_step
        kept = 1 + self._rank_one * (1 - follows) * rate * (2 - rate) - self._rank_one - self._rank_mu
        self.covariance = (
            kept * self.covariance
            + self._rank_one * np.outer(self.covariance_path, self.covariance_path)
            + self._rank_mu * (self._weights * steps.T) @ steps
        )
        self.step_size *= float(np.exp(self._step_rate / self._damping * (length / self._length - 1)))
        self._decompose()

    def _decompose(self) -> None:
        """The covariance's symmetric square root and its inverse: unlike eigenvectors they are unique."""
        values, vectors = np.linalg.eigh(self.covariance)
        roots = np.sqrt(np.maximum(values, _LEAST_EIGENVALUE * values[-1]))
        self._spread = self.step_size * float(roots[-1])
        self._root: Float64 = vectors * roots @ vectors.T
        self._inverse_root: Float64 = vectors / roots @ vectors.T


def _reflect(points: Float64, bound: float) -> Float64:
    """Folds a line into [-bound, bound], as between two mirrors."""
    folded: Float64 = bound - np.abs((points + bound) % (4 * bound) - 2 * bound)
    return folded
