"""Memory for keys and values, which graphs write in place: a cache's input and output are the same array."""

from __future__ import annotations

import numpy as np

from ..bundle.graphs import PARTS, past_name, present_name
from ..bundle.manifest import ModelConfig
from .architecture import Float32


class KeyValueCache:
    """Memory for the keys and values of all layers; one serves batches that come one after the other."""

    def __init__(self, config: ModelConfig) -> None:
        layers = range(config.layers)
        self._names = [(past_name(layer, part), present_name(layer, part)) for layer in layers for part in PARTS]
        self._heads, self._size = config.kv_heads, config.head_size
        self._memory: list[Float32] = [np.empty(0, np.float32)] * len(self._names)

    def arrays(self, batch: int, room: int) -> dict[tuple[str, str], Float32]:
        """For the names of each cache's input and output its memory, (B, kv heads, C, K), C = room."""
        shape = batch, self._heads, room, self._size
        needed = int(np.prod(shape, dtype=np.int64))
        if self._memory[0].size < needed:
            # zeros: what is behind a text's end may be multiplied by 0, and must be a number
            self._memory = [np.zeros(needed, np.float32) for _ in self._names]
        return {names: memory[:needed].reshape(shape) for names, memory in zip(self._names, self._memory, strict=True)}
