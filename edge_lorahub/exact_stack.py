"""The stack of exact composition: the modules' matrices as they are, with the weights in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compose import compose_exact
from .contract import Slot, lora_a_name, lora_b_name, lora_scale_name
from .lora_inputs import Float32, Float64, LoraInputs, LoraSource, checked, rank_of
from .quantisation import quantise_rows


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
            ranks = [rank_of(source, slot) for source in sources]
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
            for layer, lora in checked(source):
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

    def inputs(self, row: Float32 | None = None) -> LoraInputs:
        row = np.zeros(self.width, np.float32) if row is None else row
        arrays: dict[str, NDArray[Any]] = {}
        for index, slot in enumerate(self.slots):
            arrays[lora_a_name(slot.name)], arrays[lora_b_name(slot.name)] = self._a[index], self._b[index]
            arrays[lora_scale_name(slot.name)] = row[self._starts[index] : self._starts[index + 1]]
        return LoraInputs(self, arrays, row, self.form)
