"""The products with a decoder-only model's matrices in int8, where every row of what they read has its own scale.

A row is a token. Some tokens, mostly the first one, have values a thousand times those of the others ("massive
activations", arXiv 2402.17762), and with one scale for all tokens there would be a few steps left for the rest.
A row's result depends on no other row either.

Rows have a zero of their own too, but the product knows one zero for all, so that each of its columns is off by the
row's shift times the sum of the matrix's column. That is added behind it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from edge_lorahub.tensors.quantization import quantize_rows

from .onnx_graph import MICROSOFT, Graph, Read, WeightFile
from .products import FloatProducts, Lora
from .row_embedding import embed_rows, scale_name
from .token_quantization import ZERO, Rows, quantize_by_magnitude, quantize_by_range


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


class _Matrix(NamedTuple):
    """values int8 (d_in, d_out) times scales (d_out,); sums float32 (1, d_out): of the scaled columns."""

    values: str
    scales: str
    sums: str


class RowProducts:
    """int8 matrices with a scale for each output column; inputs are quantized by row as they come.

    Layers that read the same values quantize them once. A slot's A and B are float32, or with int8_lora int8.
    """

    def __init__(self, read: Read, weights: WeightFile, *, int8_lora: bool) -> None:
        self._read = read
        self._weights = weights
        self._int8_lora = int8_lora
        self._rows: dict[tuple[str, str], Rows] = {}  # (graph, float value) -> the same in uint8

    def embed(self, g: Graph, name: str, ids: str, shape: tuple[int, int]) -> str:
        return embed_rows(g, self._weights, self._read, name, ids, shape)

    def linear(self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, lora: Lora | None = None) -> str:
        rows = self._quantized(g, x)
        y = _product(g, rows, self._matrix(g, name, name, (d_out, d_in)))
        if lora is None or not self._int8_lora:
            return _with_lora(g, x, g.op("Mul", [y, rows.scale]), lora)
        # The LoRA's scale does the work of A's. What it multiplies is quantized again, for B, whose scale is 1, and
        # evenly, for which B's sums are not asked. The scale of x's rows is a factor of both terms.
        low = quantize_by_magnitude(g, _product(g, rows, _Matrix(lora.a, lora.scale, _sums(g, lora, d_in))))
        low_rank = g.op("Mul", [_integer_product(g, low.values, lora.b, g.constant(1, np.float32)), low.scale])
        return g.op("Mul", [g.op("Add", [y, low_rank]), rows.scale])

    def tied_head(self, g: Graph, x: str, name: str, shape: tuple[int, int]) -> str:
        # The int8 product reads columns only, so the head is a second, transposed copy of a quarter of the size.
        rows = self._quantized(g, x)
        return g.op("Mul", [_product(g, rows, self._matrix(g, f"{name}.head", name, shape)), rows.scale])

    def _matrix(self, g: Graph, name: str, source: str, shape: tuple[int, int]) -> _Matrix:
        """The transposed matrix, from the source's tensor of that shape."""
        sums = f"{name}.sums"
        if name not in self._weights:
            values, scales = quantize_rows(self._read(source, shape))
            self._weights.add(name, values.T)
            self._weights.add(scale_name(name), scales)
            self._weights.add(sums, (values.sum(axis=1, dtype=np.int32).astype(np.float32) * scales)[None])
        return _Matrix(g.weight(name), g.weight(scale_name(name)), g.weight(sums))

    def _quantized(self, g: Graph, x: str) -> Rows:
        key = g.name, x
        if key not in self._rows:
            self._rows[key] = quantize_by_range(g, x)
        return self._rows[key]


def token_products(precision: str, read: Read, weights: WeightFile, *, int8_lora: bool) -> TokenProducts:
    """By the names of `bundle.architectures.PRECISIONS`."""
    if precision == "int8":
        return RowProducts(read, weights, int8_lora=int8_lora)
    return FloatProducts(read, weights)


def _product(g: Graph, rows: Rows, matrix: _Matrix) -> str:
    """rows times a matrix, float32, without the scale of the rows."""
    y = _integer_product(g, rows.values, matrix.values, matrix.scales)
    # (N, 1) times (1, d_out), and + y in the same pass; with a single term no order of sums depends on N
    return g.op("Gemm", [rows.shift, matrix.sums, y])


def _integer_product(g: Graph, values: str, matrix: str, columns: str) -> str:
    """(values - ZERO) times an int8 matrix and the scales of its columns, float32."""
    inputs = [values, matrix, g.constant(1, np.float32), columns, g.constant(ZERO, np.uint8)]
    return g.op("MatMulIntegerToFloat", inputs, domain=MICROSOFT)


def _sums(g: Graph, lora: Lora, d_in: int) -> str:
    """The sums of A's scaled columns, (1, r): the product with a row of ones, which is exact."""
    ones = g.op("Expand", [g.constant(ZERO + 1, np.uint8), g.constant([1, d_in])])
    return _integer_product(g, ones, lora.a, lora.scale)


def _with_lora(g: Graph, x: str, y: str, lora: Lora | None) -> str:
    if lora is None:
        return y
    low = g.op("Mul", [g.op("MatMul", [x, lora.a]), lora.scale])
    return g.op("Add", [y, g.op("MatMul", [low, lora.b])])
