"""A candidate's loss: cross-entropy on the examples, plus regularisation; or a callable of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import SettingsError
from .examples import Example
from .generation import generate_with
from .session import Float32, Model, Runner, Scoring
from .stack import LoraInputs
from .tokens import Ids, buckets

Float64 = NDArray[np.float64]

# What a loss that is not a finite number counts as: worse than any real one, below where nevergrad clips
# (5e20), and JSON can hold it.
WORST_LOSS = 1e20


@dataclass(frozen=True)
class Losses:
    """Cross-entropy by example: the sum over its label tokens (nats), and their number; both (E,)."""

    sums: Float64
    tokens: Float64

    def means(self) -> Float64:
        """The mean token cross-entropy of each example, (E,)."""
        return self.sums / self.tokens


# losses by example float64 (E,), or the predicted texts -> the candidate's loss
LossObjective = Callable[[Float64, Sequence[Example]], float]
TextObjective = Callable[[list[str], Sequence[Example]], float]


def mean_loss(losses: Float64, examples: Sequence[Example]) -> float:
    """The default objective: the mean over examples of their mean token cross-entropy."""
    return float(losses.mean())


def regularisation(population: Float64, strength: float) -> Float64:
    """strength * mean |w|, for each candidate: (C, N) -> (C,). The released code's get_regular, with 0.05."""
    penalty: Float64 = strength * np.abs(population).mean(axis=1)
    return penalty


class Evaluator:
    """Evaluates candidates one after the other: `evaluator(population (C, N)) -> losses (C,)`, float64.

    The examples are encoded, bucketed and bound once. `on_loss` is called after every candidate.
    """

    def __init__(
        self,
        model: Model,
        inputs: LoraInputs,
        examples: Sequence[Example],
        *,
        strength: float,
        max_input_tokens: int,
        max_output_tokens: int,
        reduce: Callable[[Losses], float] | None = None,
        on_texts: TextObjective | None = None,
        on_loss: Callable[[float], None] = lambda loss: None,
    ) -> None:
        """reduce makes a candidate's loss of the losses by example, on_texts of the predicted texts."""
        if (reduce is None) == (on_texts is None):
            raise SettingsError("an objective is on the losses or on the predicted texts, one of them")
        self._examples = examples
        self._reduce = reduce
        self._on_texts = on_texts
        self._on_loss = on_loss
        self._strength = strength
        self._runner = Runner(model, inputs)
        self._max_input_tokens = max_input_tokens
        self._scorer = None
        if reduce is not None:
            self._scorer = Scorer(self._runner, examples, max_input_tokens, max_output_tokens)
        else:
            # a prediction that goes on after the longest output is wrong already
            outputs = model.tokens.encode([e.output for e in examples], max_output_tokens)
            self._longest = max(map(len, outputs))

    def __call__(self, population: Float64) -> Float64:
        penalties = regularisation(population, self._strength)
        losses = np.empty(len(population))
        for index, (weights, penalty) in enumerate(zip(population, penalties, strict=True)):
            self._runner.inputs.compose(weights)
            loss = self._loss() + penalty
            losses[index] = loss if np.isfinite(loss) else WORST_LOSS
            self._on_loss(float(losses[index]))
        return losses

    def _loss(self) -> float:
        if self._scorer is not None:
            assert self._reduce is not None
            return float(self._reduce(self._scorer.losses()))
        assert self._on_texts is not None
        texts = [example.input for example in self._examples]
        predictions = generate_with(
            self._runner, texts, max_new_tokens=self._longest, max_input_tokens=self._max_input_tokens
        )
        return float(self._on_texts(predictions, self._examples))


class Scorer:
    """The cross-entropy of fixed examples, for whatever the runner's LoRA inputs hold."""

    def __init__(
        self, runner: Runner, examples: Sequence[Example], max_input_tokens: int, max_output_tokens: int
    ) -> None:
        tokens = runner.model.tokens
        sources = tokens.encode([e.input for e in examples], max_input_tokens)
        targets = tokens.encode([e.output for e in examples], max_output_tokens)
        self._count = len(examples)
        groups = buckets([len(s) + len(t) for s, t in zip(sources, targets, strict=True)])
        # one batch's logits are done with before the next one's come: the largest batch's space serves all
        positions = max(len(group) * max(len(targets[i]) for i in group) for group in groups)
        buffer = np.empty(positions * runner.model.manifest.model.vocab_size, np.float32)
        self._batches = []
        for members in groups:
            labels = [targets[i] for i in members]
            scoring = Scoring(runner, *tokens.pad([sources[i] for i in members]), tokens.pad(labels)[0], buffer)
            self._batches.append((members, labels, scoring))

    def losses(self) -> Losses:
        sums, tokens = np.empty(self._count), np.empty(self._count)
        for members, labels, scoring in self._batches:
            scoring.run()
            for row, index in enumerate(members):
                sums[index] = cross_entropy(scoring.logits[row, : len(labels[row])], labels[row])
                tokens[index] = len(labels[row])
        return Losses(sums, tokens)


def cross_entropy(logits: Float32, labels: Ids) -> float:
    """-sum log softmax(logits)[labels] in nats; logits (S, V), labels (S,). Overwrites logits."""
    rows = np.arange(len(labels))
    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[rows, labels].astype(np.float64)
    np.exp(logits, out=logits)  # out: the logits of a long answer are the largest array of an evaluation
    return float((np.log(logits.sum(axis=1, dtype=np.float64)) - chosen).sum())
