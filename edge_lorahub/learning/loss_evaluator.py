"""Evaluating candidates by an objective on the examples' losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..label_logits import KEPT_TOKENS
from ..runtime.scoring import Losses
from ..search.strategy import Observation, Proposal
from .objective import Float64, Penalties, finite
from .raced_scores import RacedScores
from .scores import Scores
from .workbench import Workbench


class LossEvaluator:
    """Evaluates a proposal's candidates: observations in their order, each as soon as it and those before are known.

    As many candidates run at once as the workbench has workers; the losses do not depend on how many that is. reduce is
    called on the thread that asks, in the candidates' order.
    """

    def __init__(
        self, workbench: Workbench, penalties: Penalties, reduce: Callable[[Losses], float], *, short: bool = False,
        racing: bool = False,
    ) -> None:  # fmt: skip
        """reduce makes a candidate's loss of the losses by example. short: score with the graphs for short outputs.

        racing: a proposal that needs only its least losses is raced, which is for a reduce that never falls when the
        loss of an example rises.
        """
        workers = workbench.scoring(short=short)
        self._workbench, self._penalties, self._reduce = workbench, penalties, reduce
        self._scores, self._raced = Scores(workbench, workers), RacedScores(workbench, workers)
        self._racing = racing

    @property
    def spared(self) -> float:
        """The share of the work that racing saved: examples not scored, of all that would have been."""
        spared = self._raced.spared
        return spared / max(1, spared + self._raced.done + self._scores.done)

    def __call__(self, proposal: Proposal) -> Iterator[Observation]:
        if self._racing and proposal.keep is not None:
            return self._race(proposal.weights, proposal.keep)
        return self._whole(proposal)

    def losses(self, population: Float64) -> Float64:
        """The losses with regularization of candidates (C, N), and nothing else: (C,)."""
        return np.array([observation.loss for observation in self(Proposal(population, "losses"))])

    def _whole(self, proposal: Proposal) -> Iterator[Observation]:
        scored = self._scores(proposal.weights, KEPT_TOKENS if proposal.logits else 0)
        for weights, penalty, (sums, logits) in zip(
            proposal.weights, self._penalties(proposal.weights), scored, strict=True
        ):
            losses = Losses(sums, self._workbench.batches.tokens)
            yield Observation(weights, self._loss(losses, penalty), losses.means(), logits)

    def _race(self, population: Float64, keep: int) -> Iterator[Observation]:
        """Only the `keep` least losses are sure to be found: one that is above them may be inf."""
        penalties = self._penalties(population)

        def bound(candidate: int, losses: Losses) -> float:
            return self._loss(losses, penalties[candidate])

        for candidate, losses in enumerate(self._raced(population, keep, bound)):
            weights = population[candidate]
            if losses is None:
                yield Observation(weights, np.inf)
            else:
                yield Observation(weights, bound(candidate, losses), losses.means())

    def _loss(self, losses: Losses, penalty: float) -> float:
        return finite(float(self._reduce(losses)) + penalty)
