"""Evaluating candidates by an objective on the texts that they predict for the examples."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from ..label_logits import KEPT_TOKENS, LabelLogits
from ..runtime.binding import Runner
from ..runtime.generation import generate_with
from ..search.strategy import Observation, Proposal
from .objective import Float64, Penalties, TextObjective, finite, number
from .preparation import Prepared
from .scores import Scores
from .workbench import Workbench


class TextEvaluator:
    """As `loss_evaluator.LossEvaluator`, but the loss is of predicted texts, and nothing is raced.

    The examples are scored too where a proposal asks for the label logits.
    """

    spared = 0.0

    def __init__(self, workbench: Workbench, penalties: Penalties, on_texts: TextObjective) -> None:
        self._workbench, self._penalties, self._on_texts = workbench, penalties, on_texts
        self._workers = workbench.generating()

    @cached_property
    def _scores(self) -> Scores:
        return Scores(self._workbench, self._workbench.scoring())

    def __call__(self, proposal: Proposal) -> Iterator[Observation]:
        predictions = self._predict(proposal.weights)
        penalties = self._penalties(proposal.weights)
        scored: Iterator[tuple[Float64 | None, LabelLogits | None]] = (
            self._scores(proposal.weights, KEPT_TOKENS) if proposal.logits else iter([(None, None)] * len(penalties))
        )
        tokens = self._workbench.batches.tokens
        for weights, penalty, texts, (sums, logits) in zip(
            proposal.weights, penalties, predictions, scored, strict=True
        ):
            loss = finite(number(self._on_texts(texts, self._workbench.examples)) + penalty)
            yield Observation(weights, loss, None if sums is None else sums / tokens, logits)

    def _predict(self, population: Float64) -> list[list[str]]:
        """Each candidate's answers to the examples."""
        workbench = self._workbench
        texts = [example.input for example in workbench.examples]
        # a prediction that goes on after the longest output is wrong already
        longest = int(workbench.batches.tokens.max())

        def predict(runner: Runner, candidate: Prepared) -> list[str]:
            runner.lora = candidate()
            return generate_with(
                runner,
                texts,
                max_new_tokens=longest,
                max_input_tokens=workbench.max_input_tokens,
                prompt=workbench.prompt,
                finite=False,  # a candidate's weights may be too large for its model
            )

        return list(self._workers.each(predict, workbench.prepare(population)))
