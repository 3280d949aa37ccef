"""Random draws whose stream is the same on every Python version.

Only ``random.Random.random()`` is used: its sequence for a seed is documented as stable, while that of
``choice``, ``sample`` and ``shuffle`` has changed between versions.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """A seeded stream of draws."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def below(self, n: int) -> int:
        """An integer in [0, n)."""
        return int(self._random() * n)

    def choice(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[int(self._random() * len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[float]) -> T:
        """One of the items, in proportion to its weight."""
        left = self._random() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            left -= weight
            if left < 0:
                return item
        return items[-1]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different items in random order (the first steps of a Fisher-Yates shuffle)."""
        pool = list(items)
        for i in range(count):
            j = i + int(self._random() * (len(pool) - i))
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]


def seed_for(name: str, seed: int) -> int:
    """A seed of its own for each name, so that two tasks with one seed do not share a stream."""
    return (zlib.crc32(name.encode()) << 32) | (seed & 0xFFFFFFFF)
