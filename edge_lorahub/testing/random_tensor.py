"""A tensor of seeded random numbers."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from edge_lorahub.tensors.safetensors_file import Float32


@dataclass(frozen=True)
class RandomTensor:
    """Normal numbers with that standard deviation and mean, under a tensor's name in a checkpoint."""

    name: str
    shape: tuple[int, ...]
    std: float
    mean: float = 0.0

    def make(self, seed: int) -> Float32:
        """float32; a stream for each name: what one holds does not depend on the order of the others."""
        rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        array: Float32 = rng.standard_normal(self.shape, dtype=np.float32)
        array *= np.float32(self.std)
        return array + np.float32(self.mean) if self.mean else array
