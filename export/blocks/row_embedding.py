"""An embedding in int8 with a scale for each row, of which a token takes one."""

from __future__ import annotations

from onnx import TensorProto

from edge_lorahub.tensors.quantization import quantize_rows

from .onnx_graph import Graph, Read, WeightFile


def embed_rows(g: Graph, weights: WeightFile, read: Read, name: str, ids: str, shape: tuple[int, int]) -> str:
    """Rows of the embedding (V, d) for ids of any shape, as float32."""
    rows = f"{name}.rows"
    if rows not in weights:
        values, scales = quantize_rows(read(name, shape))
        weights.add(rows, values)
        weights.add(scale_name(rows), scales)
    whole = g.op("Cast", [g.op("Gather", [g.weight(rows), ids])], to=TensorProto.FLOAT)
    scale = g.op("Gather", [g.weight(scale_name(rows)), ids])
    return g.op("Mul", [whole, g.op("Unsqueeze", [scale, g.constant([-1])])])


def scale_name(name: str) -> str:
    """Of a matrix in int8, what its scales are called."""
    return f"{name}.scale"
