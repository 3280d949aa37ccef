"""The methods that are compared on the embedded hub, and the exact match of each on one problem."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np

from edge_lorahub import Model, Modules, Settings, adapt, load
from edge_lorahub.comparison.best_single import best_single
from edge_lorahub.comparison.random_twins import random_twins
from edge_lorahub.examples.example import Example
from edge_lorahub.search.settings import REFERENCE
from edge_lorahub.search.strategy import Candidate
from edge_lorahub.tinyhub import UnseenTask, examples, relevant_modules
from edge_lorahub.tinyhub.hub import module_folders

from .quality import HELD_OUT, SHOTS, Trial, as_weights, best_not_negative

BUDGETS = (40, 100, 200)
# of the default search, whose first candidates teach more
SURROGATE_BUDGETS = (30, 40, 60, 100, 200)
_FRONTS = "CMA-ES"


@dataclass(frozen=True)
class Problem:
    """One unseen task with one draw of examples, for one kind of modules."""

    bundle: Path
    kind: str
    task: UnseenTask
    seed: int


class Bench:
    """A problem with what measuring a method on it needs."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._model, self._modules = _load(problem.bundle), _modules(problem.kind)
        pairs = [Example(*pair) for pair in examples(problem.task.task, SHOTS + HELD_OUT, problem.seed)]
        self._shots, self._held_out = pairs[:SHOTS], pairs[SHOTS:]
        self._trial = Trial(self._model, self._modules, self._held_out)
        self._traces: dict[str, tuple[Candidate, ...]] = {}

    def same_weight(self, weight: float) -> float:
        return self._trial.accuracy(np.full(len(self._modules), weight), "exact")

    def uniform(self) -> float:
        return self.same_weight(1 / len(self._modules))

    def best_single(self) -> float:
        return self._trial.accuracy(best_single(self._model, self._modules, self._shots), "exact")

    def learned(self, *, optimizer: str = "cma", composition: str = "exact", budget: int) -> float:
        settings = Settings(optimizer=optimizer, composition=composition, budget=budget, seed=self._problem.seed)
        weights = as_weights(adapt(self._model, self._modules, self._shots, settings).weights)
        return self._trial.accuracy(weights, composition)

    def front(self, composition: str, budget: int) -> float:
        """A shorter search by CMA-ES alone is the front of a longer one."""
        if composition not in self._traces:
            settings = Settings(composition=composition, surrogate=False, budget=max(BUDGETS), seed=self._problem.seed)
            self._traces[composition] = adapt(self._model, self._modules, self._shots, settings).trace
        best = min(self._traces[composition][:budget], key=lambda candidate: candidate.loss)
        return self._trial.accuracy(best.weights, composition)

    def random_modules(self) -> float:
        return self._with_others(random_twins(self._modules, self._problem.seed, products=False))

    def relevant_removed(self) -> float:
        relevant = relevant_modules(self._problem.task, self._problem.kind)
        return self._with_others(Modules([module for module in self._modules if module.name not in relevant]))

    def no_negative(self) -> float:
        settings = Settings(optimizer=REFERENCE, composition="exact", budget=100, seed=self._problem.seed)
        return self._trial.accuracy(best_not_negative(self._model, self._modules, self._shots, settings), "exact")

    def _with_others(self, modules: Modules) -> float:
        """As "exact, reference, 40", with other modules."""
        settings = Settings(optimizer=REFERENCE, composition="exact", seed=self._problem.seed)
        weights = as_weights(adapt(self._model, modules, self._shots, settings).weights)
        return Trial(self._model, modules, self._held_out).accuracy(weights, "exact")


def _methods() -> dict[str, Callable[[Bench], float]]:
    found: dict[str, Callable[[Bench], float]] = {
        "zero-shot": lambda bench: bench.same_weight(0.0),
        "uniform": Bench.uniform,
        "best single module": Bench.best_single,
        "random modules": Bench.random_modules,
        "relevant removed": Bench.relevant_removed,
        "exact, reference, 100, no negative w": Bench.no_negative,
    }
    for composition in ("paper", "exact"):
        for budget in BUDGETS:
            found[f"{composition}, reference, {budget}"] = partial(
                Bench.learned, optimizer=REFERENCE, composition=composition, budget=budget
            )
        for budget in BUDGETS:
            found[f"{composition}, {_FRONTS}, {budget}"] = partial(Bench.front, composition=composition, budget=budget)
    for budget in SURROGATE_BUDGETS:
        found[f"exact, surrogate, {budget}"] = partial(Bench.learned, budget=budget)
    return found


METHODS = _methods()


def together(name: str) -> str:
    """What methods have in common that are best measured by the same process: one search."""
    return name.rpartition(", ")[0] if _FRONTS in name else name


def measure(problem: Problem, names: tuple[str, ...]) -> list[float]:
    """Exact match, in percent, of methods on a problem."""
    bench = _bench(problem)
    return [METHODS[name](bench) for name in names]


@lru_cache(maxsize=1)  # a process measures one method after the other of a problem
def _bench(problem: Problem) -> Bench:
    return Bench(problem)


@cache
def _load(bundle: Path) -> Model:
    return load(bundle, threads=1)


@cache
def _modules(kind: str) -> Modules:
    return Modules.load(module_folders(kind))
