"""T5's relative positions: their buckets, and what the graphs make of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .onnx_graph import Graph

# A table of the bias has at most this many distances to one side; longer texts are refused.
_MOST_DISTANCES = 1 << 16


def relative_buckets(
    distance: NDArray[np.int64], *, bidirectional: bool, buckets: int, max_distance: int
) -> NDArray[np.int64]:
    """The bucket of each distance `key position - query position`; of the same shape as distance.

    Raffel et al., arXiv 1910.10683, section 2.1, in the arithmetic (float32) of the reference
    implementation: half of the buckets are exact, the others grow logarithmically up to max_distance.
    A bucket that the formula puts outside of the table is -1: where max_distance is within the exact buckets, the
    logarithm runs backwards beyond them. buckets must be at least `least_buckets`.
    """
    first = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        first += (distance > 0) * buckets
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = buckets // 2
    ratio = np.maximum(distance, exact).astype(np.float32) / np.float32(exact)
    # NumPy's float32 logarithm is at times a last digit off where torch's is not, and that can be a bucket
    logarithm = np.log(ratio.astype(np.float64)).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = logarithm / np.float32(np.log(max_distance / exact)) * np.float32(buckets - exact)
    growth[~np.isfinite(growth)] = -buckets  # max_distance is the last exact distance
    bucket = np.where(distance < exact, distance, np.minimum(exact + growth.astype(np.int64), buckets - 1))
    result: NDArray[np.int64] = np.where(bucket < 0, -1, first + bucket)
    return result


def least_buckets(*, bidirectional: bool) -> int:
    """The fewest buckets of which at least one is exact."""
    return 4 if bidirectional else 2


class Reach(NamedTuple):
    """How far relative positions go in one stack.

    farthest: the distance beyond which the bucket stays the same. longest: the most tokens of a text, None: any.
    """

    farthest: int
    longest: int | None


def reach(*, bidirectional: bool, buckets: int, max_distance: int) -> Reach:
    """The reach of a stack's relative positions; the arguments are those of `relative_buckets`."""
    exact = (buckets // 2 if bidirectional else buckets) // 2
    if exact < max_distance <= _MOST_DISTANCES:
        return Reach(max_distance, None)
    behind = -np.arange(_MOST_DISTANCES + 1)
    found = relative_buckets(behind, bidirectional=bidirectional, buckets=buckets, max_distance=max_distance)
    outside = np.flatnonzero(found < 0)
    longest = int(outside[0]) if len(outside) else _MOST_DISTANCES + 1
    return Reach(longest - 1, longest)


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
