"""The strategies that see one number a candidate: CMA-ES, and nevergrad's optimizers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .cma_es import CmaEs
from .nevergrad import NevergradOptimizer
from .strategy import Candidate, Float64, Observation, Proposal, best

# The name of nevergrad's optimizer that the released code uses.
REFERENCE_OPTIMIZER = "NGOpt"


class CmaSearch:
    """w = 0 first, so that the result is never worse than the plain model; then CMA-ES, a generation at a time."""

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
    """One candidate at a time: w = 0 first, then what one of nevergrad's optimizers asks for."""

    def __init__(self, name: str, dimension: int, *, budget: int, bound: float, seed: int) -> None:
        self.name = name
        self._plain = np.zeros((1, dimension))
        self._optimizer = NevergradOptimizer(name, dimension, budget=max(1, budget - 1), bound=bound, seed=seed)
        self._first: bool | None = None

    def ask(self, left: int) -> Proposal:
        self._first = self._first is None
        return Proposal(self._plain, "plain model") if self._first else Proposal(self._optimizer.ask(), self.name)

    def tell(self, seen: Sequence[Observation]) -> None:
        if seen and not self._first:
            self._optimizer.tell(seen[0].loss)

    def choice(self, trace: Sequence[Candidate]) -> Float64:
        return best(trace)


class ReferenceSearch:
    """What the released code does: NGOpt from w = 0 with one worker, and its own recommendation."""

    def __init__(self, dimension: int, *, budget: int, bound: float, seed: int) -> None:
        self.name = REFERENCE_OPTIMIZER
        self._optimizer = NevergradOptimizer(REFERENCE_OPTIMIZER, dimension, budget=budget, bound=bound, seed=seed)

    def ask(self, left: int) -> Proposal:
        return Proposal(self._optimizer.ask(), self.name)

    def tell(self, seen: Sequence[Observation]) -> None:
        if seen:
            self._optimizer.tell(seen[0].loss)

    def choice(self, trace: Sequence[Candidate]) -> Float64:
        return self._optimizer.recommendation()
