"""T5's relative positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
