"""T5's relative positions: their buckets, and what the graphs make of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .graph import Graph


def relative_buckets(
    distance: NDArray[np.int64], *, bidirectional: bool, buckets: int, max_distance: int
) -> NDArray[np.int64]:
    """The bucket of each distance `key position - query position`; of the same shape as distance.

    Raffel et al., arXiv 1910.10683, section 2.1, in the arithmetic (float32) of the reference
    implementation: half of the buckets are exact, the others grow logarithmically up to max_distance.
    """
    result = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        result += (distance > 0) * buckets
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = buckets // 2
    ratio = np.maximum(distance, 1).astype(np.float32) / np.float32(exact)
    growth = np.log(ratio) / np.float32(np.log(max_distance / exact)) * np.float32(buckets - exact)
    large = np.minimum(exact + growth.astype(np.int64), buckets - 1)
    result += np.where(distance < exact, distance, large)
    return result


def position_bias(g: Graph, table: str, past: str, length: str, farthest: int, ahead: int) -> str:
    """float32 (1, H, S, past + S), for S = length queries after so many past tokens.

    table (farthest + ahead + 1, H): the bias by distance, from farthest behind to `ahead`; constant beyond.
    """
    zero, one = g.constant(0), g.constant(1)
    total = g.op("Add", [past, length])
    key = g.op("Range", [zero, total, one])
    query = g.op("Unsqueeze", [g.op("Range", [past, total, one]), g.constant([1])])
    index = g.op("Clip", [g.op("Sub", [key, query]), g.constant(-farthest), g.constant(ahead)])
    index = g.op("Add", [index, g.constant(farthest)])
    bias = g.op("Gather", [table, index])  # (S, past + S, H)
    return g.op("Unsqueeze", [g.op("Transpose", [bias], perm=[2, 0, 1]), g.constant([0])])
