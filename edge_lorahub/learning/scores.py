"""The examples' cross-entropy for whole candidates: every batch is scored, but for what is known already."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..label_logits import LabelLogits, joined
from ..runtime.pool import Workers
from .preparation import Whole
from .workbench import Scored, ScoringWorker, Workbench

Float64 = NDArray[np.float64]


class Scores:
    """Scores candidates; `done` counts the examples that were scored for any of them."""

    def __init__(self, workbench: Workbench, workers: Workers[ScoringWorker]) -> None:
        self._workbench, self._workers = workbench, workers
        self.done = 0

    def __call__(self, population: Float64, keep: int) -> Iterator[tuple[Float64, LabelLogits | None]]:
        """Each candidate's sums by example (E,), and its label logits, example by example, where keep is not 0.

        keep: how many tokens of each label position are kept by name.
        """
        batches, known = self._workbench.batches, self._workbench.known
        candidates = self._workbench.prepare(population)
        seen = [known if known is not None and known.has(weights) else None for weights in population]
        everything = list(range(len(batches.batches)))
        # one candidate's batches go to several workers; of several candidates each stays with one
        spread = len(candidates) < len(self._workers)
        if spread:
            candidates = [Whole(candidate()) for candidate in candidates]
        units = [_units(everything if one is None else one.left, spread) for one in seen]

        def score(worker: ScoringWorker, unit: tuple[int, list[int]]) -> list[list[Scored]]:
            candidate = candidates[unit[0]]()
            return [worker.score(candidate, batch, keep) for batch in unit[1]]

        scored = self._workers.each(score, [(c, unit) for c, mine in enumerate(units) for unit in mine])
        for weights, mine, earlier in zip(population, units, seen, strict=True):
            sums = np.empty(len(batches.tokens))
            logits: list[LabelLogits | None] = [None] * len(sums)
            for unit, parts in zip(mine, scored, strict=False):  # of the scored only as many as are this candidate's
                for batch, part in zip(unit, parts, strict=True):
                    for example, (loss, found) in zip(batches.batches[batch].members, part, strict=True):
                        sums[example], logits[example] = loss, found
                self.done += sum(map(len, parts))
            for example, mean, found in earlier.seen(weights) if earlier is not None else ():
                # a quotient times its divisor is as near to it as the dividend was: the means come out bit for bit
                sums[example], logits[example] = mean * batches.tokens[example], found
            yield sums, joined([found for found in logits if found is not None]) if keep else None


def _units(batches: list[int], spread: bool) -> list[list[int]]:
    """Batches of one candidate, as what a worker does at once."""
    if spread:
        return [[batch] for batch in batches]
    return [batches] if batches else []
