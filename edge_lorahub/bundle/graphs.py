"""A bundle's graphs: what they are for, their variants, and the names of inputs and outputs that all of them share."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .field_checks import check_fields

# What a graph is for: the logits at the labels of examples, or an answer token by token.
ROLES = ("score", "generate")
# How a graph takes a slot's A and B: as float32 or int8 arrays, or not at all, which is the plain model alone.
LORA_TYPES = ("float32", "int8", "none")
# Token ids, int64; their shape is the architecture's.
INPUT_IDS = "input_ids"
# float32, over the vocabulary along the last axis.
LOGITS = "logits"
# What a cache of a layer's attention holds.
PARTS = ("key", "value")
_FILE = re.compile(r"[a-z][a-z0-9_.]{0,80}\.onnx")


@dataclass(frozen=True)
class Variant:
    """Which of a role's graphs.

    lora_type is one of LORA_TYPES. short: written for short outputs, of which it makes less work and for long ones
    more.
    """

    lora_type: str = "float32"
    short: bool = False

    def __str__(self) -> str:
        return f"LoRA in {self.lora_type}{', for short outputs' if self.short else ''}"


@dataclass(frozen=True)
class Graph:
    """One variant of a role's graph, and its files in the order in which the architecture runs them."""

    role: str
    lora_type: str
    short: bool
    files: tuple[str, ...]

    def __post_init__(self) -> None:
        check_fields(self)
        if self.role not in ROLES or self.lora_type not in LORA_TYPES or not self.files:
            raise ValueError(f"a graph has role {self.role!r:.20}, lora_type {self.lora_type!r:.20}")
        # plain names, so that none leads out of the bundle's folder
        for file in self.files:
            if not _FILE.fullmatch(file):
                raise ValueError(f"a graph's file is {file!r:.80}")

    @property
    def variant(self) -> Variant:
        return Variant(self.lora_type, self.short)


def lora_a_name(slot: str) -> str:
    """A of a slot, float32 or int8 (d_in, r)."""
    return f"{slot}.lora_A"


def lora_scale_name(slot: str) -> str:
    """The middle of a slot, float32 (r,): y = x W + ((x A) * scale) B. int8 A's and B's have their scales in it."""
    return f"{slot}.lora_scale"


def lora_b_name(slot: str) -> str:
    """B of a slot, float32 or int8 (r, d_out)."""
    return f"{slot}.lora_B"


def past_name(layer: int, part: str) -> str:
    """Cache of a layer's keys or values, float32 (B, kv heads, C, K): input.

    Bound to the memory of `present_name` too, which has room for the new tokens: they are added in place. Where an
    encoder-decoder has no past, C may be 0, and the output is memory of its own.
    """
    return f"past.{layer}.{part}"


def present_name(layer: int, part: str) -> str:
    """The cache with the new tokens' keys or values, float32 (B, kv heads, C, K): output."""
    return f"present.{layer}.{part}"
