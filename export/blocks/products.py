"""How a bundle holds and applies the base's matrices, as they are or in eight bits, and a slot's LoRA beside them.

The norms and the attention are float32 in either case.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from edge_lorahub.tensors.quantization import quantize_rows

from .onnx_graph import MICROSOFT, Graph, Read, WeightFile
from .row_embedding import embed_rows, scale_name
from .row_quantization import ZERO, RowQuantizer, Rows

# The leading axes of what products read: texts and tokens (B, S), or heads and all of their tokens (H, B S).
_TOKENS, _HEADS = "tokens", "heads"


class Lora(NamedTuple):
    """The graph inputs of a slot."""

    a: str
    scale: str
    b: str


class Products(Protocol):
    """The products with the base's matrices, written into a graph. E is the embedding (V, d)."""

    def embed(self, g: Graph, name: str, ids: str, shape: tuple[int, int]) -> str:
        """Rows of E, float32 (B, S, d)."""
        ...

    def linear(
        self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, lora: Lora | None = None, factor: str | None = None
    ) -> str:
        """x W, with W (d_in, d_out), and + ((x A) * scale) B; the checkpoint has W's transpose.

        factor: (B, S, 1), by which x's rows are still to be multiplied.
        """
        ...

    def linear_and_factor(
        self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, lora: Lora | None
    ) -> tuple[str, str | None]:
        """As `linear`; where there is a factor (B, S, 1), the rows are still to be multiplied by it."""
        ...

    def joined(self, g: Graph, x: str, layers: dict[str, tuple[int, int]]) -> str | None:
        """x times several W's side by side, name -> (d_in, d_out); None where that is no faster for one row."""
        ...

    def by_head(
        self, g: Graph, x: str, name: str, d_in: int, d_out: int, heads: int, *, transposed: bool, lora: Lora | None
    ) -> str:
        """x_h W_h for each head h: x (H, M, d_in), W_h its K columns of W (d_in, H K) -> (H, M, K).

        transposed: x_h W_h^T, (H, M, K) -> (H, M, d_in). With a LoRA, W is W + A diag(scale) B.
        """
        ...

    def tied_head(self, g: Graph, x: str, name: str, shape: tuple[int, int]) -> str:
        """x E^T: the logits where the head is the embedding."""
        ...


class FloatProducts:
    """float32 matrices."""

    def __init__(self, read: Read, weights: WeightFile) -> None:
        self._read = read
        self._weights = weights

    def embed(self, g: Graph, name: str, ids: str, shape: tuple[int, int]) -> str:
        return g.op("Gather", [self._embedding(g, name, shape), ids])

    def linear(
        self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, lora: Lora | None = None, factor: str | None = None
    ) -> str:
        assert factor is None  # there are none in float32
        return _add_low_rank(g, x, g.op("MatMul", [x, self._matrix(g, name, d_in, d_out)]), lora)

    def linear_and_factor(
        self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, lora: Lora | None
    ) -> tuple[str, None]:
        return self.linear(g, x, name, d_in, d_out, lora=lora), None

    def joined(self, g: Graph, x: str, layers: dict[str, tuple[int, int]]) -> str | None:
        return None

    def by_head(
        self, g: Graph, x: str, name: str, d_in: int, d_out: int, heads: int, *, transposed: bool, lora: Lora | None
    ) -> str:
        parts = _heads(g, self._matrix(g, name, d_in, d_out), heads, d_out, transposed)
        return _add_low_rank_by_head(g, x, g.op("MatMul", [x, parts]), lora, heads, d_out, transposed)

    def tied_head(self, g: Graph, x: str, name: str, shape: tuple[int, int]) -> str:
        # Reads the embedding as it lies: a transposed copy would make the bundle larger than the checkpoint.
        return g.op("FusedMatMul", [x, self._embedding(g, name, shape)], domain=MICROSOFT, transB=1)

    def _matrix(self, g: Graph, name: str, d_in: int, d_out: int) -> str:
        if name not in self._weights:
            self._weights.add(name, self._read(name, (d_out, d_in)).T)
        return g.weight(name)

    def _embedding(self, g: Graph, name: str, shape: tuple[int, int]) -> str:
        if name not in self._weights:
            self._weights.add(name, self._read(name, shape))
        return g.weight(name)


class Int8Products:
    """int8 matrices with a scale for each output column; inputs are quantized to uint8 by row as they come.

    A slot's A and B are float32, or with int8_lora int8.
    """

    def __init__(self, read: Read, weights: WeightFile, *, int8_lora: bool) -> None:
        self._read = read
        self._weights = weights
        self._int8_lora = int8_lora
        self._quantize = RowQuantizer()

    def embed(self, g: Graph, name: str, ids: str, shape: tuple[int, int]) -> str:
        return embed_rows(g, self._weights, self._read, name, ids, shape)

    def linear(
        self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, lora: Lora | None = None, factor: str | None = None
    ) -> str:
        if factor and lora and not self._int8_lora:
            x, factor = g.op("Mul", [x, factor]), None
        y, scale = self.linear_and_factor(g, x, name, d_in, d_out, lora=lora)
        if scale is None:
            return y
        # what x is quantized to does not depend on a factor of its rows
        return g.op("Mul", [y, g.op("Mul", [scale, factor]) if factor else scale])

    def linear_and_factor(
        self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, lora: Lora | None
    ) -> tuple[str, str | None]:
        rows = self._quantize(g, x, _TOKENS)
        y = _product(g, rows, *self._matrix(g, name, name, (d_out, d_in)))
        if lora is None:
            return y, rows.scale
        if not self._int8_lora:
            return _add_low_rank(g, x, g.op("Mul", [y, rows.scale]), lora), None
        # The LoRA's scale does the work of A's: what it multiplies is quantized again, for B, whose scale is 1. The
        # scale of x's rows is a factor of both terms.
        low = _product(g, rows, lora.a, lora.scale)
        low = self._scaled_product(g, low, lora.b, g.constant(1, np.float32))
        return g.op("Add", [y, low]), rows.scale

    def joined(self, g: Graph, x: str, layers: dict[str, tuple[int, int]]) -> str | None:
        parts = [self._matrix(g, name, name, (d_out, d_in)) for name, (d_in, d_out) in layers.items()]
        matrices, columns = zip(*parts, strict=True)
        # done once, when a session is loaded
        matrix, scales = g.op("Concat", matrices, axis=1), g.op("Concat", columns, axis=0)
        return self._scaled_product(g, x, matrix, scales)

    def by_head(
        self, g: Graph, x: str, name: str, d_in: int, d_out: int, heads: int, *, transposed: bool, lora: Lora | None
    ) -> str:
        matrix, columns = self._matrix(g, name, name, (d_out, d_in))
        parts, one = _heads(g, matrix, heads, d_out, transposed), g.constant(1, np.float32)
        # a head has columns of its own, so their scales are a factor of what a head reads, or of what it gives
        columns = g.op("Reshape", [columns, g.constant([heads, 1, d_out // heads])])
        if transposed:
            y = self._scaled_product(g, g.op("Mul", [x, columns]), parts, one, _HEADS)
        else:
            y = g.op("Mul", [self._scaled_product(g, x, parts, one, _HEADS), columns])
        if lora is None or not self._int8_lora:
            return _add_low_rank_by_head(g, x, y, lora, heads, d_out, transposed)
        b = _heads(g, lora.b, heads, d_out, transposed)
        first, last = (b, g.op("Transpose", [lora.a], perm=[1, 0])) if transposed else (lora.a, b)
        low = self._scaled_product(g, x, first, lora.scale, _HEADS)
        return g.op("Add", [y, self._scaled_product(g, low, last, one, _HEADS)])

    def tied_head(self, g: Graph, x: str, name: str, shape: tuple[int, int]) -> str:
        # The int8 product reads columns only, so the head is a second, transposed copy of a quarter of the size.
        return self._scaled_product(g, x, *self._matrix(g, f"{name}.head", name, shape))

    def _matrix(self, g: Graph, name: str, source: str, shape: tuple[int, int]) -> tuple[str, str]:
        """The transposed matrix and the scales of its columns, from the source's tensor of that shape."""
        if name not in self._weights:
            values, scales = quantize_rows(self._read(source, shape))
            self._weights.add(name, values.T)
            self._weights.add(scale_name(name), scales)
        return g.weight(name), g.weight(scale_name(name))

    def _scaled_product(self, g: Graph, x: str, matrix: str, columns: str, leading: str = _TOKENS) -> str:
        rows = self._quantize(g, x, leading)
        return g.op("Mul", [_product(g, rows, matrix, columns), rows.scale])


def make_products(precision: str, read: Read, weights: WeightFile, *, int8_lora: bool) -> Products:
    """By the names of `bundle.architectures.PRECISIONS`."""
    if precision == "int8":
        return Int8Products(read, weights, int8_lora=int8_lora)
    return FloatProducts(read, weights)


def _product(g: Graph, rows: Rows, matrix: str, columns: str) -> str:
    """rows times an int8 matrix and the scales of its columns, float32, without the scale of the rows."""
    inputs = [rows.values, matrix, g.constant(1, np.float32), columns, g.constant(ZERO, np.uint8)]
    return g.op("MatMulIntegerToFloat", inputs, domain=MICROSOFT)


def _add_low_rank(g: Graph, x: str, y: str, lora: Lora | None) -> str:
    if lora is None:
        return y
    low = g.op("Mul", [g.op("MatMul", [x, lora.a]), lora.scale])
    return g.op("Add", [y, g.op("MatMul", [low, lora.b])])


def _heads(g: Graph, matrix: str, heads: int, d_out: int, transposed: bool) -> str:
    """The columns of each head of a matrix (n, d_out): (H, n, K), or transposed (H, K, n).

    Those of a weight are made once, when a session is loaded.
    """
    parts = g.op("Reshape", [matrix, g.constant([0, heads, d_out // heads])])
    return g.op("Transpose", [parts], perm=[1, 2, 0] if transposed else [1, 0, 2])


def _add_low_rank_by_head(g: Graph, x: str, y: str, lora: Lora | None, heads: int, d_out: int, transposed: bool) -> str:
    if lora is None:
        return y
    # the scale goes to B: a transposed input that a product reads at once becomes part of it, and with a rank of 0
    # onnxruntime 1.23 then divides by zero
    scale = lora.scale if transposed else g.op("Unsqueeze", [lora.scale, g.constant([1])])
    b = g.op("Mul", [_heads(g, lora.b, heads, d_out, transposed), scale])
    low = g.op("MatMul", [x, b if transposed else lora.a])
    if transposed:
        return g.op("Add", [y, g.op("FusedMatMul", [low, lora.a], domain=MICROSOFT, transB=1)])
    return g.op("Add", [y, g.op("MatMul", [low, b])])
