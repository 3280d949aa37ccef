"""A decoder-only model's values in uint8, every row with a scale of its own and, where it pays, a zero of its own.

A row is a token. What a layer reads has single numbers far larger than the others ("massive activations", arXiv
2402.17762), of which the largest on one side is often twice as large as on the other. Steps that are spread between a
row's least and largest number are then up to half as wide as steps that are spread evenly around 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from onnx import TensorProto

from .onnx_graph import MICROSOFT, Graph

# The zero point that products are told of, for all rows.
ZERO = 128
_MOST = 127
_STEPS = 255
# The width that a row of zeros is given: it would be divided by 0.
_TINY = 1e-30


class EvenRows(NamedTuple):
    """x ~ (values - ZERO) * scale: names of uint8 (N, d) and float32 (N, 1)."""

    values: str
    scale: str


class Rows(NamedTuple):
    """x ~ (values - ZERO + shift) * scale: names of uint8 (N, d), float32 (N, 1) and float32 (N, 1)."""

    values: str
    scale: str
    shift: str


def quantize_by_range(g: Graph, x: str) -> Rows:
    """x float32 (N, d), each row in 255 steps from its least number to its largest, 0 being one of them."""
    least, largest = _ends(g, x)
    nothing, last = g.constant(0.0, np.float32), g.constant([-1])
    below = g.op("Max", [g.op("Neg", [least]), nothing])
    width = g.op("Add", [g.op("Max", [largest, nothing]), below])
    width = g.op("Max", [width, g.constant(_TINY, np.float32)])
    scale = g.op("Mul", [width, g.constant(1 / _STEPS, np.float32)])
    # of numbers that are not negative, cutting after adding a half rounds
    steps = g.op("Add", [g.op("Div", [below, scale]), g.constant(0.5, np.float32)])
    zero = g.op("Cast", [steps], to=TensorProto.UINT8)
    inputs = [x, g.op("Reshape", [scale, last]), g.op("Reshape", [zero, last])]
    values = g.op("QuantizeLinear", inputs, domain=MICROSOFT, axis=0)
    shift = g.op("Sub", [g.constant(float(ZERO), np.float32), g.op("Cast", [zero], to=TensorProto.FLOAT)])
    return Rows(values, scale, shift)


def quantize_by_magnitude(g: Graph, x: str) -> EvenRows:
    """x float32 (N, d), each row in 127 steps to either side of 0."""
    least, largest = _ends(g, x)
    magnitude = g.op("Max", [largest, g.op("Neg", [least]), g.constant(_TINY, np.float32)])
    scale = g.op("Mul", [magnitude, g.constant(1 / _MOST, np.float32)])
    one, zero = g.constant(1, np.float32), g.constant(ZERO, np.uint8)
    # onnxruntime 1.23 has ONNX's own for older opsets alone
    values = g.op("QuantizeLinear", [g.op("Div", [x, scale]), one, zero], domain=MICROSOFT)
    return EvenRows(values, scale)


def _ends(g: Graph, x: str) -> tuple[str, str]:
    """The least and the largest number of each row, (N, 1): read without writing magnitudes anywhere."""
    last = g.constant([-1])
    least, largest = (g.op(kind, [x, last], keepdims=1) for kind in ("ReduceMin", "ReduceMax"))
    return least, largest
