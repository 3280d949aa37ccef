"""N modules, checked against a bundle, laid out for the merge kernels and for the graphs' inputs.

A stack is shared and never changes. It composes candidates into rows; `LoraInputs` are where one worker puts
such a row: a buffer of its own, and for every slot the three arrays that the graphs read, which are views of the
buffer and the stack.

The matrices are float32 or, in exact composition, where they stay as they are, int8.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .compose import compose_exact, compose_paper
from .contract import Slot, lora_a_name, lora_b_name, lora_scale_name
from .errors import EdgeLorahubWarning, ModuleFileError, SettingsError
from .peft_files import Lora
from .quantisation import quantise_rows

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
COMPOSITIONS = ("exact", "paper")


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
        """That of its matrices, of `contract.GRAPHS`."""
        ...

    @property
    def width(self) -> int:
        """Q, how many numbers of the graphs' inputs a candidate changes."""
        ...

    def compose(self, population: Float64, out: Float32, part: slice = slice(None)) -> None:
        """Candidates (C, N) -> what each changes in the graphs' inputs, into out (C, Q); or a part of the Q."""
        ...

    def inputs(self) -> LoraInputs: ...


class PaperStack:
    """All modules as rows of one (N, P) matrix: for each slot A (d_in, r) and B (r, d_out), r the largest rank.

    Modules of a smaller rank are padded with zeros, and so is a slot that a module lacks.
    """

    form = "float32"

    def __init__(self, sources: Sequence[LoraSource], slots: Sequence[Slot]) -> None:
        self.slots = tuple(slots)
        self._ranks = [max((_rank(source, slot) for source in sources), default=0) for slot in slots]
        self._offsets = np.concatenate(
            [[0], np.cumsum([r * (s.d_in + s.d_out) for r, s in zip(self._ranks, slots, strict=True)])]
        ).astype(int)
        self.matrix: Float32 = np.zeros((len(sources), int(self._offsets[-1])), np.float32)
        where = {slot.name: index for index, slot in enumerate(slots)}
        for row, source in zip(self.matrix, sources, strict=True):
            for layer, lora in _checked(source):
                a, b = self._views(row, where[layer])
                rank = len(lora.a)
                a[:, :rank] = lora.a.T
                np.multiply(lora.b.T, np.float32(lora.scale), out=b[:rank])

    @property
    def width(self) -> int:
        return int(self.matrix.shape[1])

    def compose(self, population: Float64, out: Float32, part: slice = slice(None)) -> None:
        compose_paper(population.astype(np.float32), self.matrix[:, part], out[:, part])

    def inputs(self) -> LoraInputs:
        buffer: Float32 = np.zeros(self.matrix.shape[1], np.float32)
        arrays: dict[str, Float32] = {}
        for index, slot in enumerate(self.slots):
            arrays[lora_a_name(slot.name)], arrays[lora_b_name(slot.name)] = self._views(buffer, index)
            arrays[lora_scale_name(slot.name)] = np.ones(self._ranks[index], np.float32)
        return LoraInputs(self, arrays, buffer)

    def _views(self, row: Float32, index: int) -> tuple[Float32, Float32]:
        slot, rank, start = self.slots[index], self._ranks[index], self._offsets[index]
        middle, end = start + slot.d_in * rank, self._offsets[index + 1]
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


def make_stack(sources: Sequence[LoraSource], slots: Sequence[Slot], composition: str, form: str = "float32") -> Stack:
    """A stack for a composition of COMPOSITIONS, its matrices in a form of `contract.GRAPHS`.

    Raises SettingsError for the form "none", and for paper composition in int8: its matrices are sums that change
    with every candidate.
    """
    if form == "none":
        raise SettingsError("the model was loaded without LoRA; load it without lora='none' to compose modules")
    if composition == "exact":
        return ExactStack(sources, slots, form)
    if form != "float32":
        raise SettingsError(f"{composition} composition is in float32; load the model without lora={form!r}")
    return PaperStack(sources, slots)


def stack_sizes(sources: Sequence[LoraSource], slots: Sequence[Slot], composition: str, form: str) -> tuple[int, int]:
    """The bytes of a stack before it is made, and its width: how many numbers a candidate changes."""
    ranks = [[_rank(source, slot) for source in sources] for slot in slots]
    if composition == "exact":
        numbers = sum(sum(r) * (slot.d_in + slot.d_out) for r, slot in zip(ranks, slots, strict=True))
        return numbers * np.dtype(form).itemsize, sum(map(sum, ranks))
    width = sum(max(r, default=0) * (slot.d_in + slot.d_out) for r, slot in zip(ranks, slots, strict=True))
    return len(sources) * width * np.dtype(np.float32).itemsize, width


def compose_pairs(sources: Sequence[LoraSource], weights: Float64, composition: str) -> dict[str, Lora]:
    """One LoRA pair for each slot that a module with a weight has: what the composition of the sources is.

    Of the sources' own matrices, whatever form they are stacked in.
    """
    parts: dict[str, list[tuple[Float32, Float32]]] = {}
    for source, weight in zip(sources, weights.astype(np.float32), strict=True):
        if weight:
            for layer, lora in source.loras():
                a = lora.a if composition == "exact" else weight * lora.a
                parts.setdefault(layer, []).append((a, weight * (np.float32(lora.scale) * lora.b)))
    join = _side_by_side if composition == "exact" else _sum
    result = {}
    for layer in list(parts):
        pairs = parts.pop(layer)  # what is joined is let go, layer by layer
        result[layer] = Lora(join([a for a, _ in pairs], 0), join([b for _, b in pairs], 1), 1.0)
    return result


def _side_by_side(matrices: Sequence[Float32], axis: int) -> Float32:
    return np.concatenate(matrices, axis=axis)


def _sum(matrices: Sequence[Float32], axis: int) -> Float32:
    """The sum of matrices whose ranks, their lengths along the axis, may differ: what is missing counts as zero."""
    shape = list(matrices[0].shape)
    shape[axis] = max(matrix.shape[axis] for matrix in matrices)
    result: Float32 = np.zeros(shape, np.float32)
    for matrix in matrices:
        result[: matrix.shape[0], : matrix.shape[1]] += matrix
    return result


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
