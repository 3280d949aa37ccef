"""The methods that are compared on unseen tasks, each by the runtime itself, and which answers it gets right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from edge_lorahub import Example, Model, Modules, adapt, load
from edge_lorahub.comparison.best_single import best_single
from edge_lorahub.comparison.few_shot import with_examples
from edge_lorahub.comparison.random_twins import random_twins
from edge_lorahub.evaluation.matches import longest_output
from edge_lorahub.search.settings import REFERENCE

from ..quality import Float64, Trial, as_weights
from .unseen import Task

BUDGET = 40
OURS = "ours"
# Tokens that an answer may have beyond the longest wanted one, as the same text can be written in other pieces.
_ROOM = 6
_BATCH = 25  # answers at once: the keys and values of a hundred prompts with five examples are more than a gigabyte
_SHOWN = 0.05  # weights of less are not kept

# As JSON holds it: "right" has a 1 for every answer that is right, a 0 for every other.
Value = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """An unseen task with the five examples of one draw, and the inputs that it is measured on."""

    bundle: Path
    modules: tuple[Path, ...]
    task: Task
    seed: int
    shots: tuple[Example, ...]
    held_out: tuple[Example, ...]


class Bench:
    """A problem with what measuring a method on it needs."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._model, self._modules = _load(problem.bundle), _modules(problem.modules)
        self._trial = self._trial_of(self._modules)

    def same_weight(self, weight: float) -> Value:
        return self._measured(np.full(len(self._modules), weight))

    def prompted(self) -> Value:
        prompt = with_examples(self._model.manifest.prompt, self._problem.shots)
        return {"right": _digits(self._trial.right(np.zeros(len(self._modules)), "exact", prompt))}

    def uniform(self) -> Value:
        return self.same_weight(1 / len(self._modules))

    def best_single(self) -> Value:
        return self._measured(best_single(self._model, self._modules, self._problem.shots))

    def the_two(self, weight: float) -> Value:
        """Both modules that the task needs, as if somebody had told."""
        return self._measured(weight * np.isin(self._names, self._problem.task.needs).astype(np.float64))

    def random_modules(self) -> Value:
        """Our search among modules of the same shapes and norms that know nothing."""
        modules = random_twins(self._modules, self._problem.seed, products=False)
        found = adapt(self._model, modules, self._problem.shots, seed=self._problem.seed)
        return self._measured(as_weights(found.weights), trial=self._trial_of(modules))

    def learned(self, **settings: Any) -> Value:
        found = adapt(self._model, self._modules, self._problem.shots, seed=self._problem.seed, **settings)
        value = self._measured(as_weights(found.weights), found.composition)
        return {**value, "candidates": len(found.trace), "seconds": round(found.seconds, 2)}

    @property
    def _names(self) -> list[str]:
        return [module.name for module in self._modules]

    def _trial_of(self, modules: Modules) -> Trial:
        held_out = self._problem.held_out
        longest = longest_output(self._model, held_out, self._model.manifest.prompt)
        return Trial(self._model, modules, held_out, longest + _ROOM, _BATCH)

    def _measured(self, weights: Float64, composition: str = "exact", trial: Trial | None = None) -> Value:
        right = (trial or self._trial).right(weights, composition)
        shown = zip(self._names, weights, strict=True)
        return {"right": _digits(right), "weights": {name: round(float(w), 3) for name, w in shown if abs(w) > _SHOWN}}


METHODS: Mapping[str, Callable[[Bench], Value]] = {
    "zero-shot": lambda bench: bench.same_weight(0.0),
    "five-shot prompting": Bench.prompted,
    "best single module": Bench.best_single,
    "uniform weights": Bench.uniform,
    "random modules": Bench.random_modules,
    "the two modules at 0.7": lambda bench: bench.the_two(0.7),
    "the two modules at 1": lambda bench: bench.the_two(1.0),
    f"released code's search, {BUDGET}": lambda bench: bench.learned(optimizer=REFERENCE),
    f"its search, exact, {BUDGET}": lambda bench: bench.learned(optimizer=REFERENCE, composition="exact"),
    f"ours, {BUDGET}": lambda bench: bench.learned(budget=BUDGET),
    OURS: Bench.learned,
}


def measure(problem: Problem, method: str) -> Value:
    """A method on a problem."""
    return METHODS[method](_bench(problem))


def measure_alone(problem: Problem) -> Value:
    """The only module of a problem, at weight 1."""
    return _bench(problem).same_weight(1.0)


def _digits(right: list[bool]) -> str:
    return "".join("1" if one else "0" for one in right)


@lru_cache(maxsize=1)  # a process measures one method after the other of a problem
def _bench(problem: Problem) -> Bench:
    return Bench(problem)


@cache
def _load(bundle: Path) -> Model:
    return load(bundle, threads=1)


@cache
def _modules(folders: tuple[Path, ...]) -> Modules:
    return Modules.load(folders)
