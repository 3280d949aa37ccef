"""How a bundle holds and applies the base's matrices: as they are, or in eight bits.

The LoRA path, the norms and the attention are float32 in either case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from edge_lorahub.tensors import Float32

from .graph import MICROSOFT, Graph, WeightFile

# name and shape of a tensor -> the tensor as float32
Read = Callable[[str, tuple[int, ...]], Float32]
# Rows quantised at a time: temporary arrays stay small beside the matrix itself.
_ROWS = 1024
# A row of zeros is divided by this.
_TINY = 1e-30


class Products(Protocol):
    """The products with the base's matrices, written into a graph. E is the embedding (V, d)."""

    def embed(self, g: Graph, name: str, ids: str, shape: tuple[int, int]) -> str:
        """Rows of E, float32 (B, S, d)."""
        ...

    def linear(self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, uneven: bool = False) -> str:
        """x W, with W (d_in, d_out); the checkpoint has its transpose. uneven: x's rows differ much in size."""
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

    def linear(self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, uneven: bool = False) -> str:
        if name not in self._weights:
            self._weights.add(name, self._read(name, (d_out, d_in)).T)
        return g.op("MatMul", [x, g.weight(name)])

    def tied_head(self, g: Graph, x: str, name: str, shape: tuple[int, int]) -> str:
        # Reads the embedding as it lies: a transposed copy would make the bundle larger than the checkpoint.
        return g.op("FusedMatMul", [x, self._embedding(g, name, shape)], domain=MICROSOFT, transB=1)

    def _embedding(self, g: Graph, name: str, shape: tuple[int, int]) -> str:
        if name not in self._weights:
            self._weights.add(name, self._read(name, shape))
        return g.weight(name)


class Int8Products:
    """int8 matrices with a scale for each output column; inputs are quantised to uint8 as they come.

    A tensor has one scale, or each of its rows where rows differ much. Layers that read the same values share
    one `DynamicQuantizeLinear`.
    """

    def __init__(self, read: Read, weights: WeightFile) -> None:
        self._read = read
        self._weights = weights
        self._quantised: dict[tuple[str, str], list[str]] = {}  # (graph, float value) -> value, scale, zero point

    def embed(self, g: Graph, name: str, ids: str, shape: tuple[int, int]) -> str:
        rows = f"{name}.rows"
        if rows not in self._weights:
            values, scales = quantise_rows(self._read(name, shape))
            self._weights.add(rows, values)
            self._weights.add(_scale(rows), scales)
        whole = g.op("Cast", [g.op("Gather", [g.weight(rows), ids])], to=TensorProto.FLOAT)
        scale = g.op("Gather", [g.weight(_scale(rows)), ids])
        return g.op("Mul", [whole, g.op("Unsqueeze", [scale, g.constant([-1])])])

    def linear(self, g: Graph, x: str, name: str, d_in: int, d_out: int, *, uneven: bool = False) -> str:
        if not uneven:
            return self._product(g, x, name, name, (d_out, d_in))
        # with every row scaled to 1, the tensor's one scale is fine enough for each
        largest = g.op("ReduceMax", [g.op("Abs", [x]), g.constant([-1])], keepdims=1)
        largest = g.op("Max", [largest, g.constant(_TINY, np.float32)])
        y = self._product(g, g.op("Div", [x, largest]), name, name, (d_out, d_in))
        return g.op("Mul", [y, largest])

    def tied_head(self, g: Graph, x: str, name: str, shape: tuple[int, int]) -> str:
        # The int8 product reads columns only, so the head is a second, transposed copy of a quarter of the size.
        return self._product(g, x, f"{name}.head", name, shape)

    def _product(self, g: Graph, x: str, name: str, source: str, shape: tuple[int, int]) -> str:
        if name not in self._weights:
            values, scales = quantise_rows(self._read(source, shape))
            self._weights.add(name, values.T)
            self._weights.add(_scale(name), scales)
        key = g.name, x
        if key not in self._quantised:
            self._quantised[key] = g.ops("DynamicQuantizeLinear", [x], ["", "", ""])
        value, scale, zero = self._quantised[key]
        inputs = [value, g.weight(name), scale, g.weight(_scale(name)), zero]
        return g.op("MatMulIntegerToFloat", inputs, domain=MICROSOFT)


# by the names of `contract.PRECISIONS`
PRODUCTS: dict[str, Callable[[Read, WeightFile], Products]] = {"fp32": FloatProducts, "int8": Int8Products}


def quantise_rows(matrix: Float32) -> tuple[NDArray[np.int8], Float32]:
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


def _scale(name: str) -> str:
    return f"{name}.scale"
