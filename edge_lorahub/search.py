"""Gradient-free search for the weights: ask and tell over nevergrad. Knows no model and no files."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import SettingsError

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
# What CMA-ES is told of a candidate that was stopped: that others were better. It asks no more.
_STOPPED_LOSS = 1e20


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
        if self.population < 2:
            raise SettingsError(f"population must be at least 2, got {self.population}")

    def at_once(self, dimension: int) -> int:
        """How many candidates the optimiser asks for before it is told a loss: the workers that are of use."""
        return min(self.population, self.budget) if self.optimizer == CMA and dimension > 1 else 1


def prepare() -> None:
    """Begins to import nevergrad on a thread of its own: it takes seconds, in which a model can be loaded."""

    def work() -> None:
        # what fails here fails again where it is needed, and is reported there
        with contextlib.suppress(Exception):
            importlib.import_module("nevergrad")

    threading.Thread(target=work).start()


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
    for size in _generations(settings.budget - len(trace), settings.at_once(dimension)):
        try:
            asked = [optimizer.ask() for _ in range(size)]
        except (ImportError, RuntimeError) as error:  # some of nevergrad's need packages that it does not bring
            raise SettingsError(f"{name} cannot be used here: {' '.join(str(error).split())}") from error
        population = np.array([candidate.value for candidate in asked], np.float64)
        losses = run(population, _parents(optimizer, last=len(trace) + size == settings.budget) if size > 1 else None)
        for candidate, loss in zip(asked, losses, strict=True):
            optimizer.tell(candidate, min(float(loss), _STOPPED_LOSS))
    if settings.optimizer == REFERENCE:
        weights = np.array(optimizer.provide_recommendation().value, np.float64)
    else:
        weights = min(trace, key=lambda candidate: candidate.loss).weights
    return Found(tuple(trace), weights, name)


def _generations(budget: int, size: int) -> Iterator[int]:
    while budget > 0:
        yield min(size, budget)
        budget -= size


def _parents(optimizer: Any, *, last: bool) -> int:
    """How many of a generation's candidates the search learns from; of the last one only the best is of use."""
    return 1 if last else int(optimizer.es.sp.weights.mu)


def _optimizer(dimension: int, settings: SearchSettings) -> tuple[Any, str]:
    """The optimiser and its name."""
    import nevergrad as ng  # slow to import, and needed by this function alone

    def space() -> Any:
        array = ng.p.Array(
            init=[0.0] * dimension, lower=[-settings.bound] * dimension, upper=[settings.bound] * dimension
        )
        array.random_state.seed(settings.seed)
        return array

    if settings.optimizer == REFERENCE:
        return ng.optimizers.NGOpt(space(), budget=settings.budget, num_workers=1), "NGOpt"
    if settings.optimizer.startswith(NEVERGRAD):
        name = settings.optimizer.removeprefix(NEVERGRAD)
        if name not in ng.optimizers.registry:
            near = difflib.get_close_matches(name, ng.optimizers.registry.keys(), 3)
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise SettingsError(f"nevergrad has no optimizer {name!r}{hint}")
        try:
            return ng.optimizers.registry[name](space(), budget=max(1, settings.budget - 1)), name
        except (ImportError, RuntimeError) as error:
            raise SettingsError(f"nevergrad's {name} cannot be used here: {error}") from error
    if dimension == 1:
        # pycma has no one-dimensional CMA-ES; with one weight there is no covariance to adapt
        return ng.optimizers.OnePlusOne(space(), budget=settings.budget), "OnePlusOne"
    population = settings.population
    # nevergrad multiplies the step by a factor of its own, which depends on the dimension and its version
    unit = space().set_mutation(sigma=1.0)
    factor = ng.optimizers.ParametrizedCMA(popsize=population)(unit).es.sigma0
    scaled = space().set_mutation(sigma=settings.step_size / factor)
    # without the active update, which learns from the worse half too, those need no exact losses
    cma = ng.optimizers.ParametrizedCMA(popsize=population, inopts={"CMA_active": False})
    optimizer = cma(scaled, budget=settings.budget)
    return optimizer, f"CMA-ES (population {population}, step size {settings.step_size})"
