"""From weights to LoRA inputs: a population's candidates, each composed of all modules or of its own alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..composition.exact import ExactStack
from ..composition.inputs import LoraInputs
from ..composition.stack import Stack
from ..machine.blas import one_blas_thread
from ..runtime.binding import Float32, LoraValues
from ..runtime.pool import Workers

Float64 = NDArray[np.float64]
# A candidate has LoRA inputs of its own if its modules have at most this share of all ranks: copying them takes less
# than multiplying with the zeros of the others (docs/explanation/architecture.md).
SPARSE = 0.6


class Preparation:
    """Prepares populations, one after the other, in the same memory."""

    def __init__(self, stack: Stack, threads: int) -> None:
        """threads: how many compose at once."""
        self._stack = stack
        self._threads = Workers(range(threads))
        self._make_rows(1)

    @property
    def inputs(self) -> LoraInputs:
        """Inputs of the kind that candidates have, to load graphs for."""
        return self._candidates[0].inputs

    def __call__(self, population: Float64) -> list[Prepared]:
        """Each candidate's LoRA inputs, (C, N) -> C of them, until it is called again.

        Whether a candidate is composed of its own modules alone depends on nothing but its weights.
        """
        sparse: dict[int, Prepared] = {}
        if isinstance(self._stack, ExactStack):
            for index, weights in enumerate(population):
                # w = 0 has the first module, times 0: graphs in int8 take no empty matrices
                members = np.flatnonzero(weights) if weights.any() else np.zeros(1, np.intp)
                if self._stack.width_of(members) <= SPARSE * self._stack.width:
                    sparse[index] = Sparse(self._stack, weights, members)
        whole = [index for index in range(len(population)) if index not in sparse]
        composed = dict(zip(whole, map(Whole, self.compose(population[whole])), strict=True)) if whole else {}
        return [sparse.get(index) or composed[index] for index in range(len(population))]

    def compose(self, population: Float64) -> list[LoraValues]:
        """The graphs' LoRA inputs of each candidate with all modules, (C, N) -> C of them, until it is called again."""
        if len(self._rows) < len(population):
            self._make_rows(len(population))
        rows = self._rows[: len(population)]
        parts = [slice(*ends) for ends in pairwise(self._stack.cuts(len(self._threads)))]
        with one_blas_thread():
            for _ in self._threads.each(lambda _, part: self._stack.compose(population, rows, part), parts):
                pass
        return self._candidates[: len(population)]

    def _make_rows(self, count: int) -> None:
        """The memory that candidates are composed into, and that the graphs read."""
        self._rows: Float32 = np.empty((count, self._stack.width), np.float32)
        first = LoraValues(self._stack.inputs(self._rows[0]))
        self._candidates = [first, *(LoraValues(self._stack.inputs(row), first) for row in self._rows[1:])]


class Whole:
    """A candidate whose LoRA inputs are made."""

    def __init__(self, values: LoraValues) -> None:
        self._values = values

    def __call__(self) -> LoraValues:
        return self._values


class Sparse:
    """A candidate with few modules, composed by the worker that needs it: all of a population would be a stack."""

    def __init__(self, stack: ExactStack, weights: Float64, members: NDArray[np.intp]) -> None:
        self._stack, self._weights, self._members = stack, weights, members

    def __call__(self) -> LoraValues:
        inputs = self._stack.of_modules(self._members).inputs()
        inputs.compose(self._weights[self._members])
        return LoraValues(inputs)


Prepared = Whole | Sparse
