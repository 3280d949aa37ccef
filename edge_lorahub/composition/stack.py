"""N modules, checked against a bundle, laid out for the merge kernels and for the graphs' inputs.

A stack is shared and never changes. It composes candidates into rows; `LoraInputs` are the three arrays of every slot
that the graphs read, which are views of such a row and of the stack.

The matrices are held in float32, or for a bundle in int8 in int8: in exact composition the graphs read them so, in
paper composition their sums are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from ..bundle.manifest import Manifest, Slot
from ..errors import SettingsError
from .exact import ExactStack
from .inputs import Float32, Float64, LoraInputs, LoraSource, rank_of, used_slots
from .paper import Int8PaperStack, PaperStack

COMPOSITIONS = ("exact", "paper")


class Stack(Protocol):
    """What the stacks of both compositions have in common."""

    @property
    def slots(self) -> tuple[Slot, ...]: ...

    @property
    def lora_type(self) -> str:
        """That of the graphs' inputs, of `bundle.graphs.LORA_TYPES`."""
        ...

    @property
    def width(self) -> int:
        """Q, how many numbers of the graphs' inputs a candidate changes."""
        ...

    def cuts(self, count: int) -> list[int]:
        """Where to cut the Q into about so many parts, from 0 to Q: there it changes nothing, not even a last digit."""
        ...

    def compose(self, population: Float64, out: Float32, part: slice = slice(None)) -> None:
        """Candidates (C, N) -> what each changes in the graphs' inputs, into out (C, Q).

        part: only what lies between two of `cuts`.
        """
        ...

    def inputs(self, row: Float32 | None = None) -> LoraInputs:
        """The graphs' inputs for what is composed into a row (Q,); None: one of zeros."""
        ...


def lora_type_for(manifest: Manifest, composition: str, *, generates: bool = False) -> str:
    """The type of the LoRA inputs that candidates are evaluated with, one of `bundle.graphs.LORA_TYPES`.

    In exact composition int8 was faster at any rank, where the base is in int8. In paper composition the inputs are
    sums that change with every candidate, and graphs that generate take float32 alone.
    """
    return "int8" if manifest.precision == "int8" and composition == "exact" and not generates else "float32"


def make_stack(
    sources: Sequence[LoraSource], manifest: Manifest, composition: str, lora_type: str = "float32"
) -> Stack:
    """A stack for a bundle, a composition of COMPOSITIONS and the type of the graphs' LoRA inputs (`lora_type_for`).

    It has those of the bundle's slots that a source has.
    Raises SettingsError for paper composition in int8.
    """
    slots = used_slots(sources, manifest.slots)
    if composition == "exact":
        return ExactStack.of(sources, slots, lora_type)
    if lora_type != "float32":
        raise SettingsError(f"{composition} composition gives LoRA in float32, not in {lora_type}")
    in_int8 = _held_type(manifest, composition, lora_type) == "int8"
    return (Int8PaperStack if in_int8 else PaperStack)(sources, slots)


def stack_sizes(sources: Sequence[LoraSource], manifest: Manifest, composition: str, lora_type: str) -> tuple[int, int]:
    """The bytes of a stack before it is made, and its width: how many numbers a candidate changes."""
    ranks = [[rank_of(source, slot) for source in sources] for slot in manifest.slots]
    size = np.dtype(_held_type(manifest, composition, lora_type)).itemsize
    sides = [slot.d_in + slot.d_out for slot in manifest.slots]
    if composition == "exact":
        return sum(sum(r) * d for r, d in zip(ranks, sides, strict=True)) * size, sum(map(sum, ranks))
    width = sum(max(r, default=0) * d for r, d in zip(ranks, sides, strict=True))
    return len(sources) * width * size, width


def _held_type(manifest: Manifest, composition: str, lora_type: str) -> str:
    """The type in which a stack holds the modules."""
    return "int8" if composition == "paper" and manifest.precision == "int8" else lora_type


def plain_inputs(slots: Sequence[Slot], lora_type: str = "float32") -> LoraInputs:
    """The inputs of the plain model: in float32 every rank is 0, and for "none" there are none."""
    return ExactStack.of([], () if lora_type == "none" else slots, lora_type).inputs()
