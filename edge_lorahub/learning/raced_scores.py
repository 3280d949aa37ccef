"""The examples' cross-entropy for candidates that race: one that cannot be among the best is scored no further."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..runtime.pool import Workers
from ..runtime.scoring import Losses
from ..search.racing import Unit, race
from .workbench import Scored, ScoringWorker, Workbench

Float64 = NDArray[np.float64]


class RacedScores:
    """Scores candidates; `done` and `spared` count the examples that were scored for any of them, and that were not."""

    def __init__(self, workbench: Workbench, workers: Workers[ScoringWorker]) -> None:
        self._workbench, self._workers = workbench, workers
        self.done = self.spared = 0

    def __call__(self, population: Float64, keep: int, bound: Callable[[int, Losses], float]) -> list[Losses | None]:
        """Each candidate's losses by example; None for one that was stopped, whose loss is above the `keep` least.

        bound(candidate, losses) is the candidate's loss; at most that, while an example that is not scored yet has 0.
        """
        batches, candidates = self._workbench.batches, self._workbench.prepare(population)
        # sums keep their order when rounded
        sums = np.zeros((len(population), len(batches.tokens)))
        before = self.done

        def score(worker: ScoringWorker, unit: Unit) -> list[Scored]:
            candidate, batch = unit
            return worker.score(candidates[candidate](), batch, 0)

        def run(units: Sequence[Unit]) -> None:
            for (candidate, batch), found in zip(units, self._workers.each(score, units), strict=True):
                sums[candidate, batches.batches[batch].members] = [loss for loss, _ in found]
                self.done += len(found)

        def so_far(candidate: int) -> Losses:
            return Losses(sums[candidate], batches.tokens)

        complete = race(
            len(population), len(batches.batches), keep, run, lambda candidate: bound(candidate, so_far(candidate))
        )
        self.spared += sums.size - (self.done - before)
        return [so_far(candidate) if candidate in complete else None for candidate in range(len(population))]
