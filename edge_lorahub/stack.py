"""N modules, checked against a bundle, laid out for the merge kernels and for the graphs' inputs.

A stack is shared and never changes. It composes candidates into rows; `LoraInputs` are where one worker puts
such a row: a buffer of its own, and for every slot the three arrays that the graphs read, which are views of the
buffer and the stack.

The matrices are held in float32, or for a bundle in int8 in int8: in exact composition the graphs read them so, where
it has graphs for that; in paper composition they are summed in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .compose import compose_exact, compose_paper, compose_paper_int8
from .contract import Manifest, Slot, lora_a_name, lora_b_name, lora_scale_name
from .errors import EdgeLorahubWarning, ModuleFileError, SettingsError
from .peft_files import Lora
from .quantisation import quantise, quantise_rows

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
COMPOSITIONS = ("exact", "paper")
# BLAS sums the last few columns of a product otherwise, so that a cut in between would change the last digits.
_COLUMNS = 64


class LoraSource(Protocol):
    """What a stack is made of: a Module, or an Adapter."""

    @property
    def name(self) -> str: ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, int, int]]:
        """Linear layer -> (r, d_in, d_out)."""
        ...

    def loras(self) -> Iterable[tuple[str, Lora]]: ...


class LoraInputs:
    """The graphs' LoRA inputs, and the buffer (Q,) of what a candidate changes in them.

    arrays maps input names to arrays whose memory stays where it is; form is one of `contract.GRAPHS`.
    Not for two threads at once: ask the stack for one a thread.
    """

    def __init__(
        self, stack: Stack, arrays: Mapping[str, NDArray[Any]], buffer: Float32, form: str = "float32"
    ) -> None:
        self.arrays = arrays
        self.form = form
        self._stack = stack
        self._buffer = buffer

    def take(self, row: Float32) -> None:
        """Puts in a candidate that the stack has composed: row (Q,)."""
        self._buffer[:] = row

    def compose(self, weights: Float64) -> None:
        """Composes one candidate, weights (N,), in place."""
        self._stack.compose(weights[None], self._buffer[None])


class Stack(Protocol):
    """What `PaperStack` and `ExactStack` have in common."""

    @property
    def slots(self) -> tuple[Slot, ...]: ...

    @property
    def form(self) -> str:
        """That of the graphs' inputs, of `contract.GRAPHS`."""
        ...

    @property
    def width(self) -> int:
        """Q, how many numbers of the graphs' inputs a candidate changes."""
        ...

    def cuts(self, count: int) -> list[int]:
        """Where to cut the Q into about so many parts, from 0 to Q: there it changes nothing, not even a last digit."""
        ...

    def compose(self, population: Float64, out: Float32, part: slice = slice(None)) -> None:
        """Candidates (C, N) -> what each changes in the graphs' inputs, into out (C, Q); or a part of the Q."""
        ...

    def inputs(self) -> LoraInputs: ...


class PaperStack:
    """All modules as rows of one (N, P) matrix: for each slot A (d_in, r) and B (r, d_out), r the largest rank.

    Modules of a smaller rank are padded with zeros, and so is a slot that a module lacks. Held in int8, each A and B
    has a scale.
    """

    form = "float32"

    def __init__(self, sources: Sequence[LoraSource], slots: Sequence[Slot], held: str = "float32") -> None:
        self.slots = tuple(slots)
        self._ranks = [max((_rank(source, slot) for source in sources), default=0) for slot in slots]
        # the A's and the B's in turn
        sizes = [r * d for r, slot in zip(self._ranks, slots, strict=True) for d in (slot.d_in, slot.d_out)]
        self._edges: list[int] = [0, *np.cumsum(sizes, dtype=int).tolist()]
        self.matrix: NDArray[Any] = np.zeros((len(sources), self._edges[-1]), held)
        self._scales: Float32 = np.ones((len(sources), len(sizes)), np.float32)
        where = {slot.name: index for index, slot in enumerate(slots)}
        for row, scales, source in zip(self.matrix, self._scales, sources, strict=True):
            for layer, lora in _checked(source):
                index, rank = where[layer], len(lora.a)
                a, b = self._views(row, index)
                pair = (a[:, :rank], lora.a.T), (b[:rank], lora.b.T * np.float32(lora.scale))
                for part, (out, matrix) in enumerate(pair, 2 * index):
                    out[:], scales[part] = (matrix, 1) if held == "float32" else quantise(matrix)

    @property
    def width(self) -> int:
        return self._edges[-1]

    def cuts(self, count: int) -> list[int]:
        edges = np.array(self._edges)
        wanted = np.linspace(0, self.width, count + 1)[1:-1]
        if self.matrix.dtype == np.float32:
            inner = (wanted // _COLUMNS * _COLUMNS).astype(int)
        else:
            inner = edges[np.searchsorted(edges, wanted)]
        return sorted({0, *inner.tolist(), self.width})

    def compose(self, population: Float64, out: Float32, part: slice = slice(None)) -> None:
        weights = population.astype(np.float32)
        if self.matrix.dtype == np.float32:
            compose_paper(weights, self.matrix[:, part], out[:, part])
            return
        first, last, _ = part.indices(self.width)
        for index, (start, end) in enumerate(pairwise(self._edges)):
            start, end = max(start, first), min(end, last)
            if start < end:
                compose_paper_int8(weights, self.matrix[:, start:end], self._scales[:, index], out[:, start:end])

    def inputs(self) -> LoraInputs:
        buffer: Float32 = np.zeros(self.width, np.float32)
        arrays: dict[str, Float32] = {}
        for index, slot in enumerate(self.slots):
            arrays[lora_a_name(slot.name)], arrays[lora_b_name(slot.name)] = self._views(buffer, index)
            arrays[lora_scale_name(slot.name)] = np.ones(self._ranks[index], np.float32)
        return LoraInputs(self, arrays, buffer)

    def _views(self, row: NDArray[Any], index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        slot, rank = self.slots[index], self._ranks[index]
        start, middle, end = self._edges[2 * index : 2 * index + 3]
        return row[start:middle].reshape(slot.d_in, rank), row[middle:end].reshape(rank, slot.d_out)


class ExactStack:
    """For each slot the A's of all modules side by side, (d_in, R), and the B's stacked, (R, d_out).

    R is the sum of the ranks of the modules that have the slot. In int8 every column of A and every row of B has a
    scale, and the scales' product is a factor of what multiplies between them.
    """

    def __init__(self, sources: Sequence[LoraSource], slots: Sequence[Slot], form: str = "float32") -> None:
        self.slots = tuple(slots)
        self.form = form
        owners: list[NDArray[np.intp]] = []
        for slot in slots:
            ranks = [_rank(source, slot) for source in sources]
            # ONNX Runtime quantises no empty tensor: a slot that no module has gets a column of zeros
            idle = 1 if form == "int8" and not sum(ranks) else 0
            owners.append(np.append(np.repeat(np.arange(len(sources)), ranks), np.zeros(idle, np.intp)))
        self._starts = np.concatenate([[0], np.cumsum([len(o) for o in owners])]).astype(int)
        self._owners: NDArray[np.intp] = np.concatenate([np.empty(0, np.intp), *owners])
        self._factors: Float32 = np.ones(len(self._owners), np.float32)
        self._a: list[NDArray[Any]] = [np.zeros((s.d_in, len(o)), form) for s, o in zip(slots, owners, strict=True)]
        self._b: list[NDArray[Any]] = [np.zeros((len(o), s.d_out), form) for s, o in zip(slots, owners, strict=True)]
        where = {slot.name: index for index, slot in enumerate(slots)}
        filled = [0] * len(slots)
        for source in sources:
            for layer, lora in _checked(source):
                index = where[layer]
                columns = slice(filled[index], filled[index] + len(lora.a))
                self._put(index, columns, lora.a, lora.b.T * np.float32(lora.scale))
                filled[index] = columns.stop

    def _put(self, index: int, columns: slice, a: Float32, b: Float32) -> None:
        """a (r, d_in) and b (r, d_out) of one module."""
        if self.form == "float32":
            self._a[index][:, columns], self._b[index][columns] = a.T, b
            return
        (a_values, a_scales), (b_values, b_scales) = quantise_rows(a), quantise_rows(b)
        self._a[index][:, columns], self._b[index][columns] = a_values.T, b_values
        start = self._starts[index]
        self._factors[start + columns.start : start + columns.stop] = a_scales * b_scales

    @property
    def width(self) -> int:
        return len(self._owners)

    def cuts(self, count: int) -> list[int]:
        return [0, self.width]  # a few thousand numbers

    def compose(self, population: Float64, out: Float32, part: slice = slice(None)) -> None:
        compose_exact(population.astype(np.float32), self._owners[part], out[:, part])
        out[:, part] *= self._factors[part]

    def inputs(self) -> LoraInputs:
        buffer: Float32 = np.zeros(len(self._owners), np.float32)
        arrays: dict[str, NDArray[Any]] = {}
        for index, slot in enumerate(self.slots):
            arrays[lora_a_name(slot.name)], arrays[lora_b_name(slot.name)] = self._a[index], self._b[index]
            arrays[lora_scale_name(slot.name)] = buffer[self._starts[index] : self._starts[index + 1]]
        return LoraInputs(self, arrays, buffer, self.form)


def make_stack(sources: Sequence[LoraSource], manifest: Manifest, composition: str, form: str = "float32") -> Stack:
    """A stack for a bundle, a composition of COMPOSITIONS and the form of the loaded graphs, of `contract.GRAPHS`.

    Raises SettingsError for the form "none", and for paper composition in int8: its matrices are sums that change
    with every candidate.
    """
    if form == "none":
        raise SettingsError("the model was loaded without LoRA; load it without lora='none' to compose modules")
    if composition == "exact":
        return ExactStack(sources, manifest.slots, form)
    if form != "float32":
        raise SettingsError(
            f"{composition} composition is in float32; load the model without lora={form!r} (load_to_adapt: with the "
            "settings that it adapts with)"
        )
    return PaperStack(sources, manifest.slots, _held(manifest, composition, form))


def stack_sizes(sources: Sequence[LoraSource], manifest: Manifest, composition: str, form: str) -> tuple[int, int]:
    """The bytes of a stack before it is made, and its width: how many numbers a candidate changes."""
    ranks = [[_rank(source, slot) for source in sources] for slot in manifest.slots]
    size = np.dtype(_held(manifest, composition, form)).itemsize
    sides = [slot.d_in + slot.d_out for slot in manifest.slots]
    if composition == "exact":
        return sum(sum(r) * d for r, d in zip(ranks, sides, strict=True)) * size, sum(map(sum, ranks))
    width = sum(max(r, default=0) * d for r, d in zip(ranks, sides, strict=True))
    return len(sources) * width * size, width


def _held(manifest: Manifest, composition: str, form: str) -> str:
    """The type in which a stack holds the modules."""
    return "int8" if composition == "paper" and manifest.precision == "int8" else form


def plain_inputs(slots: Sequence[Slot], form: str = "float32") -> LoraInputs:
    """The inputs of the plain model: in float32 every rank is 0, and in the form "none" there are none."""
    return ExactStack([], () if form == "none" else slots, form).inputs()


def _rank(source: LoraSource, slot: Slot) -> int:
    return source.shapes.get(slot.name, (0, 0, 0))[0]


def _checked(source: LoraSource) -> Iterable[tuple[str, Lora]]:
    """A source's pairs; refuses numbers that are not finite, and warns of a module that does nothing."""
    idle = True
    for layer, lora in source.loras():
        for side, matrix in (("A", lora.a), ("B", lora.b)):
            if not np.isfinite(matrix).all():
                raise ModuleFileError(f"{source.name}: {layer}.lora_{side} has numbers that are not finite")
        idle = idle and not lora.b.any()
        yield layer, lora
    if idle:
        warnings.warn(
            f"{source.name}: all of its B are zero, so it changes nothing",
            EdgeLorahubWarning,
            stacklevel=4,
        )
