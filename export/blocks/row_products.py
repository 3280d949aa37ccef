"""The products with a decoder-only model's matrices in int8, where every row of what they read has its own scale.

A row is a token. Some tokens, mostly the first one, have values a thousand times those of the others ("massive
activations", arXiv 2402.17762), and with one scale for all tokens there would be a few steps left for the rest.
A row's result depends on no other row either.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from onnx import TensorProto

from edge_lorahub.tensors.quantization import quantize_rows

from .onnx_graph import MICROSOFT, Graph, WeightFile
from .products import FloatProducts, Lora, Read

# What stands for 0 in uint8; a row's largest magnitude becomes 1 or 255.
_ZERO = 128
_MOST = 127
# The magnitude that a row of zeros is given: it would be divided by 0.
_TINY = 1e-30


class TokenProducts(Protocol):
    """The products with the base's matrices on tokens (N, d), written into a graph. E is the embedding (V, d)."""

    def embed(self, g: Graph, name: str, ids: str, shape: tuple[int, int]) -> str:
        """Rows of E for ids (N,), float32 (N, d)."""
        ...

    def linear(self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, lora: Lora | None = None) -> str:
        """x W, with W (d_in, d_out), and + ((x A) * scale) B; the checkpoint has W's transpose."""
        ...

    def tied_head(self, g: Graph, x: str, name: str, shape: tuple[int, int]) -> str:
        """x E^T: the logits where the head is the embedding."""
        ...


class _Rows(NamedTuple):
    """x ~ (values - 128) * scale: the names of uint8 (N, d) and float32 (N, 1)."""

    values: str
    scale: str


class RowProducts:
    """int8 matrices with a scale for each output column; inputs are quantized by row as they come.

    Layers that read the same values quantize them once. A slot's A and B are float32, or with int8_lora int8.
    """

    def __init__(self, read: Read, weights: WeightFile, *, int8_lora: bool) -> None:
        self._read = read
        self._weights = weights
        self._int8_lora = int8_lora
        self._rows: dict[tuple[str, str], _Rows] = {}  # (graph, float value) -> the same in uint8

    def embed(self, g: Graph, name: str, ids: str, shape: tuple[int, int]) -> str:
        rows = f"{name}.rows"
        if rows not in self._weights:
            values, scales = quantize_rows(self._read(name, shape))
            self._weights.add(rows, values)
            self._weights.add(_scale(rows), scales)
        whole = g.op("Cast", [g.op("Gather", [g.weight(rows), ids])], to=TensorProto.FLOAT)
        scale = g.op("Gather", [g.weight(_scale(rows)), ids])
        return g.op("Mul", [whole, g.op("Unsqueeze", [scale, g.constant([-1])])])

    def linear(self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, lora: Lora | None = None) -> str:
        rows = self._quantized(g, x)
        y = _product(g, rows, *self._matrix(g, name, name, (d_out, d_in)))
        if lora is None or not self._int8_lora:
            return _with_lora(g, x, g.op("Mul", [y, rows.scale]), lora)
        # The LoRA's scale does the work of A's: what it multiplies is quantized again, for B, whose scale is 1. The
        # scale of x's rows is a factor of both terms.
        low = self._scaled(g, _product(g, rows, lora.a, lora.scale), lora.b, g.constant(1, np.float32))
        return g.op("Mul", [g.op("Add", [y, low]), rows.scale])

    def tied_head(self, g: Graph, x: str, name: str, shape: tuple[int, int]) -> str:
        # The int8 product reads columns only, so the head is a second, transposed copy of a quarter of the size.
        return self._scaled(g, x, *self._matrix(g, f"{name}.head", name, shape))

    def _matrix(self, g: Graph, name: str, source: str, shape: tuple[int, int]) -> tuple[str, str]:
        """The transposed matrix and the scales of its columns, from the source's tensor of that shape."""
        if name not in self._weights:
            values, scales = quantize_rows(self._read(source, shape))
            self._weights.add(name, values.T)
            self._weights.add(_scale(name), scales)
        return g.weight(name), g.weight(_scale(name))

    def _scaled(self, g: Graph, x: str, matrix: str, columns: str) -> str:
        rows = self._quantized(g, x)
        return g.op("Mul", [_product(g, rows, matrix, columns), rows.scale])

    def _quantized(self, g: Graph, x: str) -> _Rows:
        key = g.name, x
        if key not in self._rows:
            last = g.constant([-1])
            # the largest and the least are read without being written anywhere; magnitudes would be written first
            largest = g.op("ReduceMax", [x, last], keepdims=1)
            least = g.op("ReduceMin", [x, last], keepdims=1)
            magnitude = g.op("Max", [largest, g.op("Neg", [least]), g.constant(_TINY, np.float32)])
            scale = g.op("Mul", [magnitude, g.constant(1 / _MOST, np.float32)])
            one, zero = g.constant(1, np.float32), g.constant(_ZERO, np.uint8)
            # onnxruntime 1.23 has ONNX's own for older opsets alone
            values = g.op("QuantizeLinear", [g.op("Div", [x, scale]), one, zero], domain=MICROSOFT)
            self._rows[key] = _Rows(values, scale)
        return self._rows[key]


def token_products(precision: str, read: Read, weights: WeightFile, *, int8_lora: bool) -> TokenProducts:
    """By the names of `bundle.architectures.PRECISIONS`."""
    if precision == "int8":
        return RowProducts(read, weights, int8_lora=int8_lora)
    return FloatProducts(read, weights)


def _product(g: Graph, rows: _Rows, matrix: str, columns: str) -> str:
    """rows times an int8 matrix and the scales of its columns, float32, without the scale of the rows."""
    inputs = [rows.values, matrix, g.constant(1, np.float32), columns, g.constant(_ZERO, np.uint8)]
    return g.op("MatMulIntegerToFloat", inputs, domain=MICROSOFT)


def _with_lora(g: Graph, x: str, y: str, lora: Lora | None) -> str:
    if lora is None:
        return y
    low = g.op("Mul", [g.op("MatMul", [x, lora.a]), lora.scale])
    return g.op("Add", [y, g.op("MatMul", [low, lora.b])])


def _scale(name: str) -> str:
    return f"{name}.scale"
