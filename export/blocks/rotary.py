"""Rotary positions: their angles as tables, which are made at the export, so that any scaling of them costs nothing.

Su et al., arXiv 2104.09864. A pair of a head's numbers turns by position * frequency, and the frequencies fall
geometrically. Scalings stretch them for texts that are longer than those of the training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge_lorahub.tensors.safetensors_file import Float32

from .onnx_graph import Graph, WeightFile


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1's: slow frequencies are divided by factor, fast ones kept, those between blended.

    A frequency is slow where its wave is longer than original_length / low, fast where shorter than
    original_length / high.
    """

    factor: float
    low: float
    high: float
    original_length: int


@dataclass(frozen=True)
class Rope:
    """One kind of rotary positions. size: the numbers of a head that are turned.

    divisor divides all frequencies (the "linear" scaling).
    """

    theta: float
    size: int
    divisor: float = 1.0
    llama3: Llama3Scaling | None = None

    @property
    def name(self) -> str:
        """Of its tables in weights.bin; other ropes have others."""
        parts = [self.theta, self.size, self.divisor]
        if self.llama3 is not None:
            parts += [self.llama3.factor, self.llama3.low, self.llama3.high, self.llama3.original_length]
        return "rope." + "_".join(f"{part:g}" for part in parts)

    def frequencies(self) -> Float32:
        """Radians a position, (size / 2,), in the arithmetic (float32) of transformers."""
        exponents = np.arange(0, self.size, 2).astype(np.float32) / np.float32(self.size)
        powers = (self.theta ** exponents.astype(np.float64)).astype(np.float32)
        found: Float32 = np.float32(1) / powers / np.float32(self.divisor)
        return found if self.llama3 is None else _llama3(found, self.llama3)

    def tables(self, positions: int) -> tuple[Float32, Float32]:
        """Cosines and sines, each (positions, size / 2)."""
        angles = np.arange(positions, dtype=np.float32)[:, None] * self.frequencies()
        # NumPy's float32 functions are at times a last digit off where torch's are not
        exact = angles.astype(np.float64)
        return np.cos(exact).astype(np.float32), np.sin(exact).astype(np.float32)


def _llama3(frequencies: Float32, scaling: Llama3Scaling) -> Float32:
    waves = np.float32(2 * math.pi) / frequencies
    slow = waves > scaling.original_length / scaling.low
    fast = waves < scaling.original_length / scaling.high
    share = (np.float32(scaling.original_length) / waves - np.float32(scaling.low)) / np.float32(
        scaling.high - scaling.low
    )
    divided = frequencies / np.float32(scaling.factor)
    blended = (1 - share) * divided + share * frequencies
    return np.where(slow, divided, np.where(fast, frequencies, blended)).astype(np.float32)


def table_weights(g: Graph, weights: WeightFile, rope: Rope, positions: int) -> list[str]:
    """The cosines' and the sines' names in a graph; added to the weights once."""
    names = [f"{rope.name}.{part}" for part in ("cos", "sin")]
    if names[0] not in weights:
        for name, table in zip(names, rope.tables(positions), strict=True):
            weights.add(name, table)
    return [g.weight(name) for name in names]
