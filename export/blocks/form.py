"""In which form a family's graphs are written, and the layers that can take a LoRA."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerSlot:
    """A linear layer that can take a LoRA. name: its path in the Hugging Face model; kind: what users choose it by."""

    name: str
    kind: str
    d_in: int
    d_out: int


@dataclass(frozen=True)
class Form:
    """In which form graphs are written.

    precision is one of `bundle.architectures.PRECISIONS`; lora the type of a slot's A and B, "float32" or "int8", or
    "none"; kinds the kinds of slots that have LoRA inputs.
    """

    precision: str
    lora: str
    kinds: frozenset[str]
