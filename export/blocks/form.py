"""In which form a family's graphs are written, and the layers that can take a LoRA."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lorahub.bundle.graphs import Variant


@dataclass(frozen=True)
class LayerSlot:
    """A linear layer that can take a LoRA. name: its path in the Hugging Face model; kind: what users choose it by."""

    name: str
    kind: str
    d_in: int
    d_out: int


@dataclass(frozen=True)
class Form:
    """In which form the graphs of a role are written.

    precision is one of `bundle.architectures.PRECISIONS`, role one of `bundle.graphs.ROLES`; kinds are the kinds of
    slots that have LoRA inputs, where the variant has any.
    """

    precision: str
    role: str
    variant: Variant
    kinds: frozenset[str]

    @property
    def lora_kinds(self) -> frozenset[str]:
        """The kinds of slots that have LoRA inputs in this variant."""
        return frozenset() if self.variant.lora_type == "none" else self.kinds
