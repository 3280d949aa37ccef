"""Gradient-free search for the weights, by ask and tell. Knows no model and no files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cma_es import CmaEs
from .errors import SettingsError
from .nevergrad_search import NevergradOptimizer, begin_import

Float64 = NDArray[np.float64]
# population (C, N) -> losses (C,)
Evaluate = Callable[[Float64], Float64]
# the same, and how many of the least losses are needed: what is above them may be inf
Race = Callable[[Float64, int], Float64]

CMA = "cma"
REFERENCE = "reference"
NEVERGRAD = "nevergrad:"
# CMA-ES's defaults: the standard deviation of its first generation in units of w, and the candidates a
# generation. Chosen by measurement, see docs/design.md.
STEP_SIZE = 0.075
POPULATION = 6
_LARGEST_POPULATION = 10_000


@dataclass(frozen=True)
class Candidate:
    """A weight vector that was evaluated: weights (N,), and its loss with regularisation.

    A loss of inf: stopped early, as it could not be among the best of its generation any more.
    """

    weights: Float64
    loss: float


@dataclass(frozen=True)
class Found:
    """A finished search: every candidate in order, the weights chosen, and the optimiser's name in full."""

    trace: tuple[Candidate, ...]
    weights: Float64
    optimizer: str


@dataclass(frozen=True)
class SearchSettings:
    """optimizer is "cma", "reference" or "nevergrad:NAME"; step_size and population are CMA-ES's.

    bound: every weight stays within [-bound, bound]. budget: candidates to evaluate, never more.
    """

    optimizer: str = CMA
    budget: int = 40
    seed: int = 1
    bound: float = 1.5
    step_size: float = STEP_SIZE
    population: int = POPULATION

    def __post_init__(self) -> None:
        if self.optimizer not in (CMA, REFERENCE) and not self.optimizer.startswith(NEVERGRAD):
            raise SettingsError(
                f"optimizer {self.optimizer!r} is unknown; choose {CMA}, {REFERENCE} or {NEVERGRAD}NAME"
            )
        if self.budget < 1:
            raise SettingsError(f"budget must be at least 1, got {self.budget}")
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed must be from 0 to 2^32 - 1, got {self.seed}")
        for name in ("bound", "step_size"):
            if not 0 < getattr(self, name) < np.inf:
                raise SettingsError(f"{name} must be a positive number, got {getattr(self, name)}")
        if self.step_size > 2 * self.bound:
            raise SettingsError(f"step_size must be at most {2 * self.bound:g}, all of the range, got {self.step_size}")
        if not 2 <= self.population <= _LARGEST_POPULATION:
            raise SettingsError(f"population must be from 2 to {_LARGEST_POPULATION}, got {self.population}")

    @property
    def at_once(self) -> int:
        """How many candidates the optimiser asks for before it is told a loss: the workers that are of use."""
        return min(self.population, self.budget) if self.optimizer == CMA else 1


def prepare(settings: SearchSettings) -> None:
    """Begins with what takes long before a search, so that other things can be done meanwhile."""
    if settings.optimizer != CMA:
        begin_import()


def search(evaluate: Evaluate, dimension: int, settings: SearchSettings, race: Race | None = None) -> Found:
    """Minimises `evaluate` over [-bound, bound]^dimension with exactly `budget` evaluations.

    The first candidate is w = 0, the plain model, so what is found is never worse than it on the examples;
    what is chosen is the best candidate seen. "reference" instead does what the released code does: NGOpt
    with one worker, started at 0, and its own recommendation. The same settings and losses give the same
    candidates, bit for bit, with `race` or without: CMA-ES is the one to use it, and needs the better half's
    losses alone.
    """
    trace: list[Candidate] = []

    def run(population: Float64, keep: int | None = None) -> Float64:
        losses = evaluate(population) if race is None or keep is None else race(population, keep)
        trace.extend(Candidate(w.copy(), float(loss)) for w, loss in zip(population, losses, strict=True))
        return losses

    if settings.optimizer != REFERENCE:
        run(np.zeros((1, dimension)))
    optimizer, name = _optimizer(dimension, settings)
    while (left := settings.budget - len(trace)) > 0:
        candidates = optimizer.ask()[:left]
        keep = None
        if isinstance(optimizer, CmaEs):
            # of the last generation only the best is of use
            keep = 1 if len(candidates) == left else optimizer.parents
        losses = run(candidates, keep)
        if len(trace) < settings.budget or settings.optimizer == REFERENCE:
            optimizer.tell(candidates, losses)
    if settings.optimizer == REFERENCE:
        assert isinstance(optimizer, NevergradOptimizer)
        weights = optimizer.recommendation()
    else:
        weights = min(trace, key=lambda candidate: candidate.loss).weights
    return Found(tuple(trace), weights, name)


def _optimizer(dimension: int, settings: SearchSettings) -> tuple[CmaEs | NevergradOptimizer, str]:
    """The optimiser and its name in full."""
    if settings.optimizer == CMA:
        population, step = settings.population, settings.step_size
        cma = CmaEs(dimension, population=population, step_size=step, bound=settings.bound, seed=settings.seed)
        return cma, f"CMA-ES (population {population}, step size {step})"
    if settings.optimizer == REFERENCE:
        name, budget = "NGOpt", settings.budget
    else:
        # w = 0 is evaluated before it begins
        name, budget = settings.optimizer.removeprefix(NEVERGRAD), max(1, settings.budget - 1)
    return NevergradOptimizer(name, dimension, budget=budget, bound=settings.bound, seed=settings.seed), name
