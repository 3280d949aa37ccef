"""Values of a graph in uint8, every row with a scale of its own, so that what becomes of a row depends on no other.

The rows of all texts of a batch go through one product together. With one scale for all of them a text's result would
depend on the texts beside it, and a token of large values would leave few steps for the others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .onnx_graph import MICROSOFT, Graph

# What stands for 0 in uint8; a row's largest magnitude becomes 1 or 255.
ZERO = 128
_MOST = 127
# The magnitude that a row of zeros is given: it would be divided by 0.
_TINY = 1e-30


class Rows(NamedTuple):
    """x ~ (values - ZERO) * scale: the names of uint8 (m, n, k) and float32 (m, n, 1)."""

    values: str
    scale: str


class RowQuantizer:
    """Quantizes float32 values (m, n, k) of any number of graphs; those that several layers read, once."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Rows] = {}
        # (graph, kind of leading axes) -> their sizes with -1 for k, and the zero points of all rows
        self._shapes: dict[tuple[str, str], tuple[str, str]] = {}

    def __call__(self, g: Graph, x: str, leading: str) -> Rows:
        """leading names x's first two axes: all values of a graph that have the same name for them have their sizes."""
        key = g.name, x
        if key not in self._rows:
            self._rows[key] = self._quantize(g, x, leading)
        return self._rows[key]

    def _quantize(self, g: Graph, x: str, leading: str) -> Rows:
        # The largest and the least are read without being written anywhere; magnitudes would be written first. A row
        # with an infinity, or of nothing but NaN, has such a scale too, and gives no finite numbers.
        last = g.constant([-1])
        largest = g.op("ReduceMax", [x, last], keepdims=1)
        least = g.op("ReduceMin", [x, last], keepdims=1)
        magnitude = g.op("Max", [largest, g.op("Neg", [least]), g.constant(_TINY, np.float32)])
        scale = g.op("Mul", [magnitude, g.constant(1 / _MOST, np.float32)])
        # QuantizeLinear takes scales along one axis, and divides and rounds in one pass. ONNX's own is not in
        # onnxruntime 1.23 at this opset.
        by_row = g.op("Reshape", [scale, last])
        shape, zeros = self._shape(g, x, by_row, leading)
        flat = g.op("Flatten", [x], axis=2)
        values = g.op("QuantizeLinear", [flat, by_row, zeros], domain=MICROSOFT, axis=0)
        return Rows(g.op("Reshape", [values, shape]), scale)

    def _shape(self, g: Graph, x: str, by_row: str, leading: str) -> tuple[str, str]:
        """Made once a graph: for one row, small operators are a part of the time."""
        key = g.name, leading
        if key not in self._shapes:
            shape = g.op("Concat", [g.op("Shape", [x], end=2), g.constant([-1])], axis=0)
            zeros = g.op("Expand", [g.constant(ZERO, np.uint8), g.op("Shape", [by_row])])
            self._shapes[key] = shape, zeros
        return self._shapes[key]
