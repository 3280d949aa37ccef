"""A comparison whose cells are all there: scores by task, method and seed, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .bootstrap import Interval, difference
from .cell import Cell
from .compared_methods import LEARNED, RANDOM, Method
from .metrics import Metric
from .observed import Float64, Gains, gains, means_by_seed
from .result import Result


@dataclass(frozen=True)
class Spread:
    """A mean, the best and the sample's standard deviation over seeds, in percent; sd None: of one seed."""

    mean: float
    best: float
    sd: float | None


@dataclass(frozen=True)
class Difference:
    """What learned weights have more than another method: over all tasks, and by task."""

    method: Method
    against: Method
    whole: Interval
    tasks: Mapping[str, Interval]


class Measured:
    """Cells with their results, by task, method and seed."""

    def __init__(
        self, tasks: Sequence[str], methods: Sequence[Method], seeds: Sequence[int],
        results: Mapping[tuple[str, str, int], tuple[Cell, Result]], metric: Metric,
    ) -> None:  # fmt: skip
        """results: by the names of task and method, and the seed. Raises SettingsError, as `Metric.scores`."""
        self.tasks, self.methods, self.seeds, self.results = tuple(tasks), tuple(methods), tuple(seeds), results
        self._scores = {key: metric.scores(result, cell.inputs) for key, (cell, result) in results.items()}

    def scores(self, task: str, method: Method, seed: int) -> list[float]:
        """A number from 0 to 1 by input."""
        return self._scores[task, method.id, seed]

    def of_seeds(self, task: str, method: Method) -> Float64:
        """The mean score under each seed, in percent, (S,)."""
        return means_by_seed({seed: self.scores(task, method, seed) for seed in self.seeds})

    def of_task(self, task: str, method: Method) -> Spread:
        return _spread(self.of_seeds(task, method))

    def of_method(self, method: Method) -> Spread:
        """Over tasks: the mean of their means and of their best seeds; the deviation is of the seeds' means."""
        means = np.array([self.of_seeds(task, method) for task in self.tasks])  # (T, S)
        return Spread(float(means.mean()), float(means.max(axis=1).mean()), _spread(means.mean(axis=0)).sd)

    def differences(self) -> list[Difference]:
        """Of every method of learned weights, from every other method but the random control of another search."""
        return [
            self._difference(method, against)
            for method in self.methods
            if method.kind == LEARNED
            for against in self.methods
            if against != method and (against.kind != RANDOM or against.optimizer == method.optimizer)
        ]

    @property
    def all_wrong(self) -> bool:
        """Whether no method has a single answer right."""
        return not any(any(scores) for scores in self._scores.values())

    def _difference(self, method: Method, against: Method) -> Difference:
        found = [self._gains(task, method, against) for task in self.tasks]
        by_task = {task: difference([one]) for task, one in zip(self.tasks, found, strict=True)}
        return Difference(method, against, difference(found), by_task)

    def _gains(self, task: str, method: Method, against: Method) -> Gains:
        inputs = [[one.input for one in self.results[task, method.id, seed][0].inputs] for seed in self.seeds]
        ours, others = ([self.scores(task, one, seed) for seed in self.seeds] for one in (method, against))
        return gains(inputs, ours, others)


def _spread(values: Float64) -> Spread:
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return Spread(float(values.mean()), float(values.max()), sd)
