"""The strategies that see one number a candidate: CMA-ES, and nevergrad's optimizers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .cma_es import CmaEs
from .nevergrad import NevergradOptimizer
from .strategy import Candidate, Float64, Observation, Proposal, best


class CmaSearch:
    """w = 0 first, so that the result's loss with regularization is never above its; then CMA-ES, by generations."""

    def __init__(self, optimizer: CmaEs, start: Float64 | None = None) -> None:
        """start: weights to try beside w = 0, (N,)."""
        self.name = f"CMA-ES (population {optimizer.population}, step size {optimizer.step_size})"
        self._optimizer = optimizer
        self._asked: Float64 | None = None
        zero = np.zeros(len(optimizer.mean))
        self._first = np.array([zero] if start is None or not start.any() else [zero, start])

    def ask(self, left: int) -> Proposal:
        if self._asked is None:
            self._asked = self._first
            return Proposal(self._asked[:left], "plain model")
        self._asked = self._optimizer.ask()[:left]
        # of the last generation only the best is of use
        keep = 1 if len(self._asked) == left else self._optimizer.parents
        return Proposal(self._asked, "CMA-ES", keep)

    def tell(self, seen: Sequence[Observation]) -> None:
        # neither the first candidates nor a generation that the budget cut teach anything
        if self._asked is not None and self._asked is not self._first and len(seen) == self._optimizer.population:
            self._optimizer.tell(
                np.array([observation.weights for observation in seen]), np.array([o.loss for o in seen])
            )

    def choice(self, trace: Sequence[Candidate]) -> Float64:
        return best(trace)


class NevergradSearch:
    """One candidate at a time, as one of nevergrad's optimizers asks for them."""

    def __init__(
        self, name: str, dimension: int, *, budget: int, bound: float, seed: int, plain_first: bool = True
    ) -> None:
        """plain_first: as in `settings.Preset`. The optimizer does not learn from that first candidate."""
        self.name = name
        self._plain_first = plain_first
        self._first: Float64 | None = np.zeros((1, dimension)) if plain_first else None
        self._asked = False
        own = max(1, budget - 1) if plain_first else budget
        self._optimizer = NevergradOptimizer(name, dimension, budget=own, bound=bound, seed=seed)

    def ask(self, left: int) -> Proposal:
        first, self._first = self._first, None
        self._asked = first is None
        return Proposal(self._optimizer.ask(), self.name) if first is None else Proposal(first, "plain model")

    def tell(self, seen: Sequence[Observation]) -> None:
        if seen and self._asked:
            self._optimizer.tell(seen[0].loss)

    def choice(self, trace: Sequence[Candidate]) -> Float64:
        return best(trace) if self._plain_first else self._optimizer.recommendation()
