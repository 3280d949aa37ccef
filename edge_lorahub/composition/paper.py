"""Stacks of paper composition (arXiv 2307.13269, equation 1): every module is a row of P numbers.

A row has for each slot A (d_in, r) and B (r, d_out), r the largest rank. Modules of a smaller rank are padded with
zeros, and so is a slot that a module lacks. What is composed is such a row too, float32, which the graphs read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.graphs import lora_a_name, lora_b_name, lora_scale_name
from ..bundle.manifest import Slot
from ..tensors.quantization import quantize
from .inputs import Float32, Float64, LoraInputs, LoraSource, checked, rank_of
from .kernels import compose_paper
from .kernels_int8 import compose_paper_int8, digits

# Columns that are composed at a time. BLAS sums in an order that depends on how many there are, so the products are the
# same ones whoever computes them.
_FLOAT_BLOCK = 65536
# In int8 any would do; the sums of so many stay in the cache.
_INT8_BLOCK = 16384
# Candidates that are composed at a time in int8: what joins their digits grows with the square.
_GROUP = 32


class _PaperStack(ABC):
    """What both ways of holding the modules have in common: where a row has what, and the graphs' inputs."""

    lora_type = "float32"

    def __init__(self, sources: Sequence[LoraSource], slots: Sequence[Slot]) -> None:
        self.slots = tuple(slots)
        self._ranks = [max((rank_of(source, slot) for source in sources), default=0) for slot in slots]
        # the A's and the B's in turn: the parts of a row
        sizes = [r * d for r, slot in zip(self._ranks, slots, strict=True) for d in (slot.d_in, slot.d_out)]
        self._edges: list[int] = [0, *np.cumsum(sizes, dtype=int).tolist()]
        # what multiplies between A and B: nothing here, and the same arrays for every candidate
        self._ones: list[Float32] = [np.ones(rank, np.float32) for rank in self._ranks]
        self._where = {slot.name: index for index, slot in enumerate(slots)}

    @property
    def width(self) -> int:
        return self._edges[-1]

    @abstractmethod
    def compose(self, population: Float64, out: Float32, part: slice = slice(None)) -> None: ...

    def inputs(self, row: Float32 | None = None) -> LoraInputs:
        row = np.zeros(self.width, np.float32) if row is None else row
        arrays: dict[str, Float32] = {}
        for index, slot in enumerate(self.slots):
            arrays[lora_a_name(slot.name)], arrays[lora_b_name(slot.name)] = self._views(row, index)
            arrays[lora_scale_name(slot.name)] = self._ones[index]
        return LoraInputs(self, arrays, row)

    def _matrices(self, row: NDArray[Any], source: LoraSource) -> Iterator[tuple[int, NDArray[Any], Float32]]:
        """For each matrix of a module the index of its part, where it goes in a row, and its numbers."""
        for layer, lora in checked(source):
            index, rank = self._where[layer], len(lora.a)
            a, b = self._views(row, index)
            yield 2 * index, a[:, :rank], lora.a.T
            yield 2 * index + 1, b[:rank], lora.b.T * np.float32(lora.scale)

    def _views(self, row: NDArray[Any], index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        slot, rank = self.slots[index], self._ranks[index]
        start, middle, end = self._edges[2 * index : 2 * index + 3]
        return row[start:middle].reshape(slot.d_in, rank), row[middle:end].reshape(rank, slot.d_out)


class PaperStack(_PaperStack):
    """The modules in float32, as the rows of one matrix (N, P)."""

    def __init__(self, sources: Sequence[LoraSource], slots: Sequence[Slot]) -> None:
        super().__init__(sources, slots)
        self.matrix: Float32 = np.zeros((len(sources), self.width), np.float32)
        for row, source in zip(self.matrix, sources, strict=True):
            for _, place, matrix in self._matrices(row, source):
                place[:] = matrix

    def cuts(self, count: int) -> list[int]:
        inner = np.linspace(0, self.width, count + 1)[1:-1] // _FLOAT_BLOCK * _FLOAT_BLOCK
        return sorted({0, *inner.astype(int).tolist(), self.width})

    def compose(self, population: Float64, out: Float32, part: slice = slice(None)) -> None:
        weights = population.astype(np.float32)
        first, last, _ = part.indices(self.width)
        for start in range(first, last, _FLOAT_BLOCK):
            block = slice(start, min(start + _FLOAT_BLOCK, last))
            compose_paper(weights, self.matrix[:, block], out[:, block])


@dataclass(frozen=True)
class _Block:
    """Some columns of all modules, int8 (N, p): which part of a row they belong to, and where in the row they start."""

    part: int
    start: int
    values: NDArray[np.int8]

    @property
    def end(self) -> int:
        return self.start + int(self.values.shape[1])


class Int8PaperStack(_PaperStack):
    """The modules in int8, with a scale for each module's A and B of a slot; held in blocks (N, p) of columns."""

    def __init__(self, sources: Sequence[LoraSource], slots: Sequence[Slot]) -> None:
        super().__init__(sources, slots)
        self._blocks = [
            _Block(part, start, np.empty((len(sources), min(_INT8_BLOCK, last - start)), np.int8))
            for part, (first, last) in enumerate(pairwise(self._edges))
            for start in range(first, last, _INT8_BLOCK)
        ]
        # by part; 0 where a module has nothing, or its weight would count among the largest of what is composed
        self._scales: Float32 = np.zeros((len(self._edges) - 1, 1, len(sources)), np.float32)
        row = np.empty(self.width, np.int8)
        for index, source in enumerate(sources):
            row.fill(0)
            for part, place, matrix in self._matrices(row, source):
                if matrix.any():
                    place[:], self._scales[part, 0, index] = quantize(matrix)
            for block in self._blocks:
                block.values[index] = row[block.start : block.end]

    def cuts(self, count: int) -> list[int]:
        wanted = np.linspace(0, self.width, count + 1)[1:-1]
        edges = np.array([*(block.start for block in self._blocks), self.width])
        return sorted({0, *edges[np.searchsorted(edges, wanted)].tolist(), self.width})

    def compose(self, population: Float64, out: Float32, part: slice = slice(None)) -> None:
        first, last, _ = part.indices(self.width)
        blocks = [block for block in self._blocks if first <= block.start and block.end <= last]
        for start in range(0, len(population) if blocks else 0, _GROUP):
            group = slice(start, start + _GROUP)
            self._compose(population[group], out[group], blocks)

    def _compose(self, population: Float64, out: Float32, blocks: Sequence[_Block]) -> None:
        first, last = blocks[0].part, blocks[-1].part
        weights, joins = digits(population * self._scales[first : last + 1])
        scratch = np.empty(len(population) * _INT8_BLOCK, np.float32)
        for block in blocks:
            index = block.part - first
            sums = out[:, block.start : block.end]
            compose_paper_int8(weights[index], joins[index], block.values, sums, scratch)
