"""A candidate's loss: cross-entropy on the examples, plus regularisation; or a callable of the user's own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from .errors import SettingsError
from .examples import Example
from .generation import generate_with
from .lora_inputs import LoraInputs
from .racing import Unit, race
from .runs import Float32, LoraValues, Runner
from .scoring import Batches, Losses, Scorer
from .session import Model
from .stack import Stack
from .tokens import BATCH_TOKENS

Float64 = NDArray[np.float64]
_Result = TypeVar("_Result")
_blas_lock = threading.Lock()

# What a loss that is not a finite number counts as: worse than any real one, below where nevergrad clips
# (5e20), and JSON can hold it.
WORST_LOSS = 1e20

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


class _Worker:
    """What one thread runs, with the LoRA of one candidate at a time."""

    def __init__(self, model: Model, inputs: LoraInputs, batches: Batches | None) -> None:
        self.runner = Runner(model, inputs)
        self._scorer = None if batches is None else Scorer(self.runner, batches)

    def score(self, candidate: LoraValues, batch: int) -> list[float]:
        assert self._scorer is not None
        self.runner.lora = candidate
        return self._scorer.batch(batch)


class Evaluator:
    """Evaluates candidates: `evaluator(population (C, N)) -> losses (C,)`, float64.

    The examples are encoded, bucketed and bound once. As many candidates run at once as the model has workers;
    the losses do not depend on how many that is. `on_loss` is called with every candidate's loss, and reduce
    and on_texts are, on the thread that asks, in the candidates' order.
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
        batch_tokens: int = BATCH_TOKENS,
        reduce: Callable[[Losses], float] | None = None,
        on_texts: TextObjective | None = None,
        on_loss: Callable[[float], None] = lambda loss: None,
    ) -> None:
        """reduce makes a candidate's loss of the losses by example, on_texts of the predicted texts."""
        if (reduce is None) == (on_texts is None):
            raise SettingsError("an objective is on the losses or on the predicted texts, one of them")
        self._stack = stack
        self._examples = examples
        self._reduce = reduce
        self._on_texts = on_texts
        self._on_loss = on_loss
        self._strength = strength
        self._max_input_tokens = max_input_tokens
        self._batches = None
        if reduce is not None:
            self._batches = Batches(model.tokens, examples, max_input_tokens, max_output_tokens, batch_tokens)
        else:
            # a prediction that goes on after the longest output is wrong already
            outputs = model.tokens.encode([e.output for e in examples], max_output_tokens)
            self._longest = max(map(len, outputs))
        self._make_rows(1)
        inputs = self._candidates[0].inputs
        self._workers = [_Worker(model, inputs, self._batches) for _ in range(model.workers)]
        # examples scored, and those that racing left out
        self._scored = self._spared = 0

    @property
    def spared(self) -> float:
        """The share of the work that racing saved: examples not scored, of all that would have been."""
        return self._spared / max(1, self._spared + self._scored)

    def __call__(self, population: Float64) -> Float64:
        candidates = self.compose(population)
        losses = self._from_texts(candidates) if self._batches is None else self._from_losses(candidates)
        return self._finish(losses, population)

    def race(self, population: Float64, keep: int) -> Float64:
        """As calling it, but only the `keep` least losses are sure to be found: one that is above them may be inf.

        For a `reduce` that never falls when the loss of an example rises.
        """
        if self._batches is None:
            return self(population)
        batches, candidates = self._batches.batches, self.compose(population)
        penalties = regularisation(population, self._strength)
        # an example that is not scored yet counts as 0, its least; sums keep their order when rounded
        sums = np.zeros((len(population), len(self._examples)))
        done = 0

        def run(units: Sequence[Unit]) -> None:
            nonlocal done
            for (candidate, batch), found in zip(units, self._score(candidates, units), strict=True):
                sums[candidate, batches[batch].members] = found
                done += len(found)

        def bound(candidate: int) -> float:
            return _finite(self._loss(sums[candidate]) + penalties[candidate])

        complete = race(len(population), len(batches), keep, run, bound)
        self._scored += done
        self._spared += sums.size - done
        losses = np.full(len(population), np.inf)
        for candidate in range(len(population)):
            if candidate in complete:
                losses[candidate] = bound(candidate)
            self._on_loss(float(losses[candidate]))
        return losses

    def compose(self, population: Float64) -> list[LoraValues]:
        """The graphs' LoRA inputs of each candidate, (C, N) -> C of them, until it is called again."""
        if len(self._rows) < len(population):
            self._make_rows(len(population))
        rows = self._rows[: len(population)]
        parts = [slice(*ends) for ends in pairwise(self._stack.cuts(len(self._workers)))]

        def compose(worker: _Worker, part: slice) -> None:
            self._stack.compose(population, rows, part)

        # BLAS's own threads would go on spinning and take the processors from the sessions
        with _one_blas_thread():
            for _ in self._each(compose, parts):
                pass
        return self._candidates[: len(population)]

    def _make_rows(self, count: int) -> None:
        """The memory that candidates are composed into, and that the graphs read."""
        self._rows: Float32 = np.empty((count, self._stack.width), np.float32)
        first = LoraValues(self._stack.inputs(self._rows[0]))
        self._candidates = [first, *(LoraValues(self._stack.inputs(row), first) for row in self._rows[1:])]

    def _from_losses(self, candidates: list[LoraValues]) -> Iterator[float]:
        assert self._batches is not None
        batches = self._batches.batches
        units = [(candidate, batch) for candidate in range(len(candidates)) for batch in range(len(batches))]
        sums = np.empty(len(self._examples))
        for (_, batch), found in zip(units, self._score(candidates, units), strict=True):
            sums[batches[batch].members] = found
            self._scored += len(found)
            if batch == len(batches) - 1:
                yield self._loss(sums.copy())

    def _from_texts(self, candidates: list[LoraValues]) -> Iterator[float]:
        assert self._on_texts is not None
        texts = [example.input for example in self._examples]

        def predict(worker: _Worker, candidate: LoraValues) -> list[str]:
            worker.runner.lora = candidate
            return generate_with(
                worker.runner, texts, max_new_tokens=self._longest, max_input_tokens=self._max_input_tokens
            )

        for predictions in self._each(predict, candidates):
            yield float(self._on_texts(predictions, self._examples))

    def _finish(self, losses: Iterator[float], population: Float64) -> Float64:
        result = np.empty(len(population))
        penalties = regularisation(population, self._strength)
        # strict: to the losses' end, where the threads are let go
        for index, (loss, penalty) in enumerate(zip(losses, penalties, strict=True)):
            result[index] = _finite(loss + penalty)
            self._on_loss(float(result[index]))
        return result

    def _loss(self, sums: Float64) -> float:
        assert self._reduce is not None
        assert self._batches is not None
        return float(self._reduce(Losses(sums, self._batches.tokens)))

    def _score(self, candidates: list[LoraValues], units: Sequence[Unit]) -> Iterator[list[float]]:
        def score(worker: _Worker, unit: Unit) -> list[float]:
            candidate, batch = unit
            return worker.score(candidates[candidate], batch)

        return self._each(score, units)

    def _each(self, work: Callable[..., _Result], units: Sequence[object]) -> Iterator[_Result]:
        """work(worker, unit) for every unit, by whichever worker is free; the results in the units' order."""
        if len(self._workers) == 1 or len(units) == 1:
            yield from (work(self._workers[0], unit) for unit in units)
            return
        free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            free.put(worker)

        def run(unit: object) -> _Result:
            worker = free.get()
            try:
                return work(worker, unit)
            finally:
                free.put(worker)

        # an error or an interrupt ends the generator, and with it the units that no worker has begun
        with ThreadPoolExecutor(len(self._workers)) as pool:
            yield from pool.map(run, units)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    # the setting is the process's: two evaluators at once would restore each other's 1
    with _blas_lock, _blas().limit(limits=1, user_api="blas"):
        yield


def _finite(loss: float) -> float:
    return float(loss) if np.isfinite(loss) else WORST_LOSS
