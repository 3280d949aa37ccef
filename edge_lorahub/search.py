"""Gradient-free search for the weights: ask and tell over nevergrad. Knows no model and no files."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import SettingsError

Float64 = NDArray[np.float64]
# population (C, N) -> losses (C,)
Evaluate = Callable[[Float64], Float64]

CMA = "cma"
REFERENCE = "reference"
NEVERGRAD = "nevergrad:"
# CMA-ES's defaults: the standard deviation of its first generation in units of w, and the candidates a
# generation. Chosen by measurement, see docs/design.md.
STEP_SIZE = 0.075
POPULATION = 6


@dataclass(frozen=True)
class Candidate:
    """A weight vector that was evaluated: weights (N,), and its loss with regularisation."""

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
        if self.population < 2:
            raise SettingsError(f"population must be at least 2, got {self.population}")


def search(evaluate: Evaluate, dimension: int, settings: SearchSettings) -> Found:
    """Minimises `evaluate` over [-bound, bound]^dimension with exactly `budget` evaluations.

    The first candidate is w = 0, the plain model, so what is found is never worse than it on the examples;
    what is chosen is the best candidate seen. "reference" instead does what the released code does: NGOpt
    with one worker, started at 0, and its own recommendation. The same settings and losses give the same
    candidates, bit for bit.
    """
    optimizer, generation, name = _optimizer(dimension, settings)
    trace: list[Candidate] = []

    def run(population: Float64) -> Float64:
        losses = evaluate(population)
        trace.extend(Candidate(w.copy(), float(loss)) for w, loss in zip(population, losses, strict=True))
        return losses

    if settings.optimizer != REFERENCE:
        run(np.zeros((1, dimension)))
    for size in _generations(settings.budget - len(trace), generation):
        try:
            asked = [optimizer.ask() for _ in range(size)]
        except (ImportError, RuntimeError) as error:  # some of nevergrad's need packages that it does not bring
            raise SettingsError(f"{name} cannot be used here: {' '.join(str(error).split())}") from error
        losses = run(np.array([candidate.value for candidate in asked], np.float64))
        for candidate, loss in zip(asked, losses, strict=True):
            optimizer.tell(candidate, float(loss))
    if settings.optimizer == REFERENCE:
        weights = np.array(optimizer.provide_recommendation().value, np.float64)
    else:
        weights = min(trace, key=lambda candidate: candidate.loss).weights
    return Found(tuple(trace), weights, name)


def _generations(budget: int, size: int) -> Iterator[int]:
    while budget > 0:
        yield min(size, budget)
        budget -= size


def _optimizer(dimension: int, settings: SearchSettings) -> tuple[Any, int, str]:
    """The optimiser, how many candidates it can be asked for at once, and its name."""
    import nevergrad as ng  # slow to import, and needed by this function alone

    def space() -> Any:
        array = ng.p.Array(
            init=[0.0] * dimension, lower=[-settings.bound] * dimension, upper=[settings.bound] * dimension
        )
        array.random_state.seed(settings.seed)
        return array

    if settings.optimizer == REFERENCE:
        return ng.optimizers.NGOpt(space(), budget=settings.budget, num_workers=1), 1, "NGOpt"
    if settings.optimizer.startswith(NEVERGRAD):
        name = settings.optimizer.removeprefix(NEVERGRAD)
        if name not in ng.optimizers.registry:
            near = difflib.get_close_matches(name, ng.optimizers.registry.keys(), 3)
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise SettingsError(f"nevergrad has no optimizer {name!r}{hint}")
        try:
            return ng.optimizers.registry[name](space(), budget=max(1, settings.budget - 1)), 1, name
        except (ImportError, RuntimeError) as error:
            raise SettingsError(f"nevergrad's {name} cannot be used here: {error}") from error
    if dimension == 1:
        # pycma has no one-dimensional CMA-ES; with one weight there is no covariance to adapt
        return ng.optimizers.OnePlusOne(space(), budget=settings.budget), 1, "OnePlusOne"
    population = settings.population
    # nevergrad multiplies the step by a factor of its own, which depends on the dimension and its version
    unit = space().set_mutation(sigma=1.0)
    factor = ng.optimizers.ParametrizedCMA(popsize=population)(unit).es.sigma0
    scaled = space().set_mutation(sigma=settings.step_size / factor)
    optimizer = ng.optimizers.ParametrizedCMA(popsize=population)(scaled, budget=settings.budget)
    return optimizer, population, f"CMA-ES (population {population}, step size {settings.step_size})"
