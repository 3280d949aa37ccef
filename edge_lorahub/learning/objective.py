"""A candidate's loss: cross-entropy on the examples, plus regularization; or a callable of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..bundle.prompt import Prompt
from ..composition.exact import ExactStack
from ..composition.inputs import LoraInputs
from ..composition.stack import Stack
from ..errors import SettingsError
from ..examples.example import Example
from ..label_logits import KEPT_TOKENS, LabelLogits, joined
from ..machine.blas import one_blas_thread
from ..runtime.binding import Float32, LoraValues, Runner
from ..runtime.generation import generate_with
from ..runtime.pool import Workers
from ..runtime.scoring import Batches, Losses, Scorer
from ..runtime.session import Model
from ..runtime.tokens import BATCH_TOKENS
from ..search.evaluations import Evaluations
from ..search.racing import Unit, race
from ..search.strategy import Observation, Proposal
from .reuse import Known

Float64 = NDArray[np.float64]

# What a loss that is not a finite number counts as: worse than any real one, below where nevergrad clips
# (5e20), and JSON can hold it.
WORST_LOSS = 1e20
# A candidate has LoRA inputs of its own if its modules have at most this share of all ranks: copying them takes less
# than multiplying with the zeros of the others (docs/search.md).
SPARSE = 0.6

# losses by example float64 (E,), or the predicted texts -> the candidate's loss
LossObjective = Callable[[Float64, Sequence[Example]], float]
TextObjective = Callable[[list[str], Sequence[Example]], float]
# of one example: the sum over its label tokens (nats), and the logits there where they were asked for
_Scored = tuple[float, LabelLogits | None]


def mean_loss(losses: Float64, examples: Sequence[Example]) -> float:
    """The default objective: the mean over examples of their mean token cross-entropy."""
    return float(losses.mean())


def regularization(population: Float64, strength: float, center: Float64 | None = None) -> Float64:
    """strength * mean |w - center|, for each candidate: (C, N) -> (C,). Around 0: the released code's get_regular."""
    offset = population if center is None else population - center
    penalty: Float64 = strength * np.abs(offset).mean(axis=1)
    return penalty


class _Worker:
    """What one thread runs, with the LoRA of one candidate at a time."""

    def __init__(
        self, model: Model, inputs: LoraInputs, batches: Batches, *, short: bool, generates: bool, at_once: int,
        prompt: Prompt | None,
    ) -> None:  # fmt: skip
        """short: scores with the graphs for short outputs.

        generates: answers the examples, and scores them only where it is asked to.
        """
        self._make = partial(Runner, model, inputs=inputs, at_once=at_once)
        self._batches, self._prompt = batches, prompt
        self._generating = self._make("generate") if generates else None
        self._scoring = None if generates else self._make("score", short=short)
        self._scorer: Scorer | None = None

    def score(self, candidate: LoraValues, batch: int, keep: int) -> list[_Scored]:
        if self._scoring is None:
            self._scoring = self._make("score")
        if self._scorer is None:
            self._scorer = Scorer(self._scoring, self._batches)
        self._scoring.lora = candidate
        return self._scorer.batch(batch, keep)

    def generate(self, candidate: LoraValues, texts: Sequence[str], most_tokens: int, input_tokens: int) -> list[str]:
        assert self._generating is not None
        self._generating.lora = candidate
        return generate_with(
            self._generating, texts, max_new_tokens=most_tokens, max_input_tokens=input_tokens, prompt=self._prompt
        )


class Evaluator:
    """Evaluates a proposal's candidates: observations in their order, each as soon as it and those before are known.

    The examples are encoded, bucketed and bound once. As many candidates run at once as there are workers; the
    losses do not depend on how many that is. reduce and on_texts are called on the thread that asks, in the
    candidates' order.
    """

    def __init__(
        self,
        model: Model,
        stack: Stack,
        examples: Sequence[Example],
        *,
        strength: float,
        max_input_tokens: int,
        max_output_tokens: int,
        center: Float64 | None = None,
        batch_tokens: int = BATCH_TOKENS,
        short: bool = False,
        earlier: Evaluations | None = None,
        reduce: Callable[[Losses], float] | None = None,
        on_texts: TextObjective | None = None,
        racing: bool = False,
        workers: int = 1,
        prompt: Prompt | None = None,
    ) -> None:
        """reduce makes a candidate's loss of the losses by example, on_texts of the predicted texts.

        strength and center: of `regularization`. short: score with the graphs for short outputs. earlier: evaluations
        of the same model and modules; what they know is not evaluated again, but for the plain model and the center,
        which show whether it is right. racing: a proposal that needs only its least losses is raced, which is for a
        reduce that never falls when the loss of an example rises. workers: how many candidates run at once, each on
        its share of the model's threads. prompt: the texts around each example, None: the bundle's own.
        """
        if (reduce is None) == (on_texts is None):
            raise SettingsError("an objective is on the losses or on the predicted texts, one of them")
        self._stack = stack
        self._examples = examples
        self._reduce = reduce
        self._on_texts = on_texts
        self._strength, self._center = strength, center
        self._max_input_tokens = max_input_tokens
        self._racing = racing and reduce is not None
        arrange = None if earlier is None else earlier.parts
        task = model.bundle.encode(examples, max_input_tokens, max_output_tokens, prompt)
        self.batches = Batches(model.bundle, task, batch_tokens, arrange)
        self.known = None if earlier is None else Known(earlier, self.batches, model.manifest.precision, center)
        self._make_rows(1)
        inputs, generates = self._candidates[0].inputs, on_texts is not None
        self._workers = Workers(
            [
                _Worker(model, inputs, self.batches, short=short, generates=generates, at_once=workers, prompt=prompt)
                for _ in range(workers)
            ]
        )
        # examples scored, and those that racing left out
        self._scored = self._spared = 0

    @property
    def spared(self) -> float:
        """The share of the work that racing saved: examples not scored, of all that would have been."""
        return self._spared / max(1, self._spared + self._scored)

    def __call__(self, proposal: Proposal) -> Iterator[Observation]:
        if self._racing and proposal.keep is not None:
            return self._race(proposal.weights, proposal.keep)
        if self._on_texts is not None:
            return self._from_texts(proposal)
        return self._from_losses(proposal)

    def losses(self, population: Float64) -> Float64:
        """The losses with regularization of candidates (C, N), and nothing else: (C,)."""
        return np.array([observation.loss for observation in self(Proposal(population, "losses"))])

    def _from_losses(self, proposal: Proposal) -> Iterator[Observation]:
        scored = self._score_whole(proposal.weights, KEPT_TOKENS if proposal.logits else 0)
        penalties = regularization(proposal.weights, self._strength, self._center)
        for weights, penalty, (sums, logits) in zip(proposal.weights, penalties, scored, strict=True):
            losses = Losses(sums, self.batches.tokens)
            yield Observation(weights, _finite(self._loss(losses) + penalty), losses.means(), logits)

    def _from_texts(self, proposal: Proposal) -> Iterator[Observation]:
        assert self._on_texts is not None
        texts = [example.input for example in self._examples]
        # a prediction that goes on after the longest output is wrong already
        longest = int(self.batches.tokens.max())
        candidates = self._prepare(proposal.weights)

        def predict(worker: _Worker, candidate: Prepared) -> list[str]:
            return worker.generate(candidate(), texts, longest, self._max_input_tokens)

        predictions = list(self._workers.each(predict, candidates))
        penalties = regularization(proposal.weights, self._strength, self._center)
        scored: Iterator[tuple[Float64 | None, LabelLogits | None]] = (
            self._score_whole(proposal.weights, KEPT_TOKENS)
            if proposal.logits
            else iter([(None, None)] * len(penalties))
        )
        for weights, penalty, found, (sums, logits) in zip(
            proposal.weights, penalties, predictions, scored, strict=True
        ):
            loss = _finite(float(self._on_texts(found, self._examples)) + penalty)
            yield Observation(weights, loss, None if sums is None else sums / self.batches.tokens, logits)

    def _score_whole(self, population: Float64, keep: int) -> Iterator[tuple[Float64, LabelLogits | None]]:
        """Each candidate's sums by example (E,), and its label logits, example by example, where keep is not 0."""
        candidates = self._prepare(population)
        known = [self.known if self.known is not None and self.known.has(w) else None for w in population]
        everything = list(range(len(self.batches.batches)))
        # one candidate's batches go to several workers; of several candidates each stays with one
        spread = len(candidates) < len(self._workers)
        if spread:
            candidates = [_Whole(candidate()) for candidate in candidates]
        units = [_units(everything if one is None else one.left, spread) for one in known]

        def score(worker: _Worker, unit: tuple[int, list[int]]) -> list[list[_Scored]]:
            candidate = candidates[unit[0]]()
            return [worker.score(candidate, batch, keep) for batch in unit[1]]

        scored = self._workers.each(score, [(c, unit) for c, mine in enumerate(units) for unit in mine])
        for weights, mine, earlier in zip(population, units, known, strict=True):
            sums = np.empty(len(self._examples))
            logits: list[LabelLogits | None] = [None] * len(self._examples)
            for unit, parts in zip(mine, scored, strict=False):  # of the scored only as many as are this candidate's
                for batch, part in zip(unit, parts, strict=True):
                    for example, (loss, found) in zip(self.batches.batches[batch].members, part, strict=True):
                        sums[example], logits[example] = loss, found
                self._scored += sum(map(len, parts))
            for example, mean, found in earlier.seen(weights) if earlier is not None else ():
                # a quotient times its divisor is as near to it as the dividend was: the means come out bit for bit
                sums[example], logits[example] = mean * self.batches.tokens[example], found
            yield sums, joined([found for found in logits if found is not None]) if keep else None

    def _race(self, population: Float64, keep: int) -> Iterator[Observation]:
        """Only the `keep` least losses are sure to be found: one that is above them may be inf."""
        batches, candidates = self.batches.batches, self._prepare(population)
        penalties = regularization(population, self._strength, self._center)
        # an example that is not scored yet counts as 0, its least; sums keep their order when rounded
        sums = np.zeros((len(population), len(self._examples)))
        done = 0

        def score(worker: _Worker, unit: Unit) -> list[_Scored]:
            candidate, batch = unit
            return worker.score(candidates[candidate](), batch, 0)

        def run(units: Sequence[Unit]) -> None:
            nonlocal done
            for (candidate, batch), found in zip(units, self._workers.each(score, units), strict=True):
                sums[candidate, batches[batch].members] = [loss for loss, _ in found]
                done += len(found)

        def bound(candidate: int) -> float:
            return _finite(self._loss(Losses(sums[candidate], self.batches.tokens)) + penalties[candidate])

        complete = set(race(len(population), len(batches), keep, run, bound))
        self._scored += done
        self._spared += sums.size - done
        for candidate, weights in enumerate(population):
            if candidate in complete:
                yield Observation(weights, bound(candidate), sums[candidate] / self.batches.tokens)
            else:
                yield Observation(weights, np.inf)

    def _prepare(self, population: Float64) -> list[Prepared]:
        """Each candidate's LoRA inputs, (C, N) -> C of them, until it is called again.

        Whether a candidate is composed of its own modules alone depends on nothing but its weights.
        """
        sparse: dict[int, Prepared] = {}
        if isinstance(self._stack, ExactStack):
            for index, weights in enumerate(population):
                # w = 0 has the first module, times 0: graphs in int8 take no empty matrices
                members = np.flatnonzero(weights) if weights.any() else np.zeros(1, np.intp)
                if self._stack.width_of(members) <= SPARSE * self._stack.width:
                    sparse[index] = _Sparse(self._stack, weights, members)
        whole = [index for index in range(len(population)) if index not in sparse]
        composed = dict(zip(whole, map(_Whole, self.compose(population[whole])), strict=True)) if whole else {}
        return [sparse.get(index) or composed[index] for index in range(len(population))]

    def compose(self, population: Float64) -> list[LoraValues]:
        """The graphs' LoRA inputs of each candidate with all modules, (C, N) -> C of them, until it is called again."""
        if len(self._rows) < len(population):
            self._make_rows(len(population))
        rows = self._rows[: len(population)]
        parts = [slice(*ends) for ends in pairwise(self._stack.cuts(len(self._workers)))]

        def compose(worker: _Worker, part: slice) -> None:
            self._stack.compose(population, rows, part)

        with one_blas_thread():
            for _ in self._workers.each(compose, parts):
                pass
        return self._candidates[: len(population)]

    def _make_rows(self, count: int) -> None:
        """The memory that candidates are composed into, and that the graphs read."""
        self._rows: Float32 = np.empty((count, self._stack.width), np.float32)
        first = LoraValues(self._stack.inputs(self._rows[0]))
        self._candidates = [first, *(LoraValues(self._stack.inputs(row), first) for row in self._rows[1:])]

    def _loss(self, losses: Losses) -> float:
        assert self._reduce is not None
        return float(self._reduce(losses))


class _Whole:
    """A candidate whose LoRA inputs are made."""

    def __init__(self, values: LoraValues) -> None:
        self._values = values

    def __call__(self) -> LoraValues:
        return self._values


class _Sparse:
    """A candidate with few modules, composed by the worker that needs it: all of a population would be a stack."""

    def __init__(self, stack: ExactStack, weights: Float64, members: NDArray[np.intp]) -> None:
        self._stack, self._weights, self._members = stack, weights, members

    def __call__(self) -> LoraValues:
        inputs = self._stack.of_modules(self._members).inputs()
        inputs.compose(self._weights[self._members])
        return LoraValues(inputs)


Prepared = _Whole | _Sparse


def _units(batches: list[int], spread: bool) -> list[list[int]]:
    """Batches of one candidate, as what a worker does at once."""
    if spread:
        return [[batch] for batch in batches]
    return [batches] if batches else []


def _finite(loss: float) -> float:
    return float(loss) if np.isfinite(loss) else WORST_LOSS
