"""The stack of exact composition: the modules' matrices as they are, with the weights in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.graphs import lora_a_name, lora_b_name, lora_scale_name
from ..bundle.manifest import Slot
from ..tensors.quantization import quantize_rows
from .inputs import Float32, Float64, LoraInputs, LoraSource, checked, rank_of
from .kernels import compose_exact

Indices = NDArray[np.intp]


class ExactStack:
    """For each slot the A's of all modules side by side, (d_in, R), and the B's stacked, (R, d_out).

    R is the sum of the ranks of the modules that have the slot. In int8 every column of A and every row of B has a
    scale, and the scales' product is a factor of what multiplies between them.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        lora_type: str,
        owners: Sequence[Indices],
        a: Sequence[NDArray[Any]],
        b: Sequence[NDArray[Any]],
        factors: Float32 | None = None,
    ) -> None:
        """By slot: the module of each column (R,), A (d_in, R) and B (R, d_out). factors: of all columns; None: 1."""
        self.slots = tuple(slots)
        self.lora_type = lora_type
        self._by_slot = list(owners)
        self._a, self._b = list(a), list(b)
        self._starts = np.concatenate([[0], np.cumsum([len(o) for o in owners])]).astype(int)
        self._owners: Indices = np.concatenate([np.empty(0, np.intp), *owners])
        self._factors: Float32 = np.ones(len(self._owners), np.float32) if factors is None else factors

    @classmethod
    def of(cls, sources: Sequence[LoraSource], slots: Sequence[Slot], lora_type: str = "float32") -> ExactStack:
        owners: list[Indices] = []
        for slot in slots:
            ranks = [rank_of(source, slot) for source in sources]
            owners.append(_with_idle(np.repeat(np.arange(len(sources)), ranks), lora_type))
        a = [np.zeros((s.d_in, len(o)), lora_type) for s, o in zip(slots, owners, strict=True)]
        b = [np.zeros((len(o), s.d_out), lora_type) for s, o in zip(slots, owners, strict=True)]
        stack = cls(slots, lora_type, owners, a, b)
        where = {slot.name: index for index, slot in enumerate(slots)}
        filled = [0] * len(slots)
        for source in sources:
            for layer, lora in checked(source):
                index = where[layer]
                columns = slice(filled[index], filled[index] + len(lora.a))
                stack._put(index, columns, lora.a, lora.b.T * np.float32(lora.scale))
                filled[index] = columns.stop
        return stack

    def _put(self, index: int, columns: slice, a: Float32, b: Float32) -> None:
        """a (r, d_in) and b (r, d_out) of one module."""
        if self.lora_type == "float32":
            self._a[index][:, columns], self._b[index][columns] = a.T, b
            return
        (a_values, a_scales), (b_values, b_scales) = quantize_rows(a), quantize_rows(b)
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

    def width_of(self, members: Indices) -> int:
        """How many columns the modules at these places have together."""
        return int(np.isin(self._owners, members).sum())

    def of_modules(self, members: Indices) -> ExactStack:
        """The stack of some of the modules alone, by their places in ascending order; a copy of theirs.

        What a candidate costs is the sum of the ranks in its stack, so one whose other weights are 0 is evaluated with
        this: its products are the same, without those with 0.
        """
        owners, a, b, factors = [], [], [], []
        for index, of_slot in enumerate(self._by_slot):
            columns = np.flatnonzero(np.isin(of_slot, members))
            mine = np.searchsorted(members, of_slot[columns])
            if not len(columns) and self.lora_type == "int8":
                mine, columns = _with_idle(mine, self.lora_type), np.zeros(1, np.intp)
                a.append(np.zeros((self.slots[index].d_in, 1), self.lora_type))
                b.append(np.zeros((1, self.slots[index].d_out), self.lora_type))
            elif len(columns) and columns[-1] - columns[0] + 1 == len(columns):
                run = slice(columns[0], columns[-1] + 1)
                a.append(np.ascontiguousarray(self._a[index][:, run]))
                b.append(self._b[index][run])
            else:
                a.append(_columns(self._a[index], columns, self._grain(index)))
                b.append(np.take(self._b[index], columns, axis=0))
            owners.append(mine)
            factors.append(self._factors[self._starts[index] + columns])
        return ExactStack(self.slots, self.lora_type, owners, a, b, np.concatenate([np.empty(0, np.float32), *factors]))

    def _grain(self, index: int) -> int:
        """A number of columns that divides the rank of every module in a slot."""
        owners = self._by_slot[index]
        edges = np.flatnonzero(np.diff(owners, append=-1)) + 1
        return int(np.gcd.reduce(edges)) if len(edges) else 1

    def inputs(self, row: Float32 | None = None) -> LoraInputs:
        row = np.zeros(self.width, np.float32) if row is None else row
        arrays: dict[str, NDArray[Any]] = {}
        for index, slot in enumerate(self.slots):
            arrays[lora_a_name(slot.name)], arrays[lora_b_name(slot.name)] = self._a[index], self._b[index]
            arrays[lora_scale_name(slot.name)] = row[self._starts[index] : self._starts[index + 1]]
        return LoraInputs(self, arrays, row, self.lora_type)


def _columns(matrix: NDArray[Any], columns: Indices, grain: int) -> NDArray[Any]:
    """Columns of a matrix that come in runs of `grain`, at multiples of it, copied: (m, R) -> (m, k).

    NumPy copies element by element, so as many columns as fit into its widest element are taken as one.
    """
    wide = next(kind for kind in _WIDE if (grain * matrix.itemsize) % np.dtype(kind).itemsize == 0)
    width = np.dtype(wide).itemsize // matrix.itemsize
    if width <= 1:
        return np.take(matrix, columns, axis=1)
    return np.take(matrix.view(wide), columns[::width] // width, axis=1).view(matrix.dtype)


# By size: 16, 8, 4, 2 and 1 bytes.
_WIDE = ("complex128", "uint64", "uint32", "uint16", "uint8")


def _with_idle(owners: Indices, lora_type: str) -> Indices:
    """ONNX Runtime quantizes no empty tensor: in int8 a slot that no module has gets a column of zeros."""
    return np.zeros(1, np.intp) if lora_type == "int8" and not len(owners) else owners
