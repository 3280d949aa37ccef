"""What modules look like to a stack, and what a stack gives to the graphs."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import Slot
from ..errors import EdgeLorahubWarning
from ..lora.pair import Lora

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class LoraSource(Protocol):
    """What a stack is made of: a Module, or an Adapter."""

    @property
    def name(self) -> str: ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, int, int]]:
        """Linear layer -> (r, d_in, d_out)."""
        ...

    def loras(self) -> Iterable[tuple[str, Lora]]: ...


class Composer(Protocol):
    """A stack, as its inputs see it."""

    def compose(self, population: Float64, out: Float32) -> None: ...


class LoraInputs:
    """The graphs' LoRA inputs for one candidate: arrays by name, of which some are views of the candidate's row (Q,).

    lora_type is that of the A and B, one of `bundle.graphs.LORA_TYPES`. What is written to the row, the next run reads.
    """

    def __init__(
        self, stack: Composer, arrays: Mapping[str, NDArray[Any]], row: Float32, lora_type: str = "float32"
    ) -> None:
        self.arrays = arrays
        self.lora_type = lora_type
        self._stack = stack
        self._row = row

    def compose(self, weights: Float64) -> None:
        """Composes one candidate, weights (N,), in place."""
        self._stack.compose(weights[None], self._row[None])


def rank_of(source: LoraSource, slot: Slot) -> int:
    return source.shapes.get(slot.name, (0, 0, 0))[0]


def used_slots(sources: Sequence[LoraSource], slots: Sequence[Slot]) -> tuple[Slot, ...]:
    """Those of a bundle's slots that a source has; the graphs are loaded without the others."""
    return tuple(slot for slot in slots if any(rank_of(source, slot) for source in sources))


def checked(source: LoraSource) -> Iterable[tuple[str, Lora]]:
    """A source's pairs; refuses numbers that are not finite, and warns of a module that does nothing."""
    idle = True
    for layer, lora in source.loras():
        lora.check(*(f"{source.name}: {layer}.lora_{side}" for side in "AB"))
        idle = idle and not (np.float32(lora.scale) and lora.b.any())
        yield layer, lora
    if idle:
        warnings.warn(
            f"{source.name}: all of its B are zero, or multiplied by 0, so it changes nothing",
            EdgeLorahubWarning,
            stacklevel=4,
        )
