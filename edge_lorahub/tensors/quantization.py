"""int8 with a scale, of the base's matrices when exported, and of modules' when stacked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int8 = NDArray[np.int8]
# Rows quantized at a time: temporary arrays stay small beside the matrix itself.
_ROWS = 1024


def quantize_rows(matrix: Float32) -> tuple[Int8, Float32]:
    """(m, n) float32 -> int8 (m, n) and a scale a row, float32 (m,): matrix ~ values * scale[:, None].

    Symmetric: the row's largest magnitude becomes 127, and -128 is not used. A row of zeros has scale 1.
    """
    values = np.empty(matrix.shape, np.int8)
    scales = np.empty(len(matrix), np.float32)
    for start in range(0, len(matrix), _ROWS):
        block = matrix[start : start + _ROWS]
        largest = np.abs(block).max(axis=1)
        scale = np.where(largest > 0, largest / np.float32(127), np.float32(1))
        values[start : start + _ROWS] = np.rint(block / scale[:, None])
        scales[start : start + _ROWS] = scale
    return values, scales


def quantize(matrix: Float32) -> tuple[Int8, float]:
    """(m, n) float32 -> int8 (m, n) and one scale, as `quantize_rows` does it."""
    values, scales = quantize_rows(matrix.reshape(1, -1))
    return values.reshape(matrix.shape), float(scales[0])
