"""The decoder's self-attention over a cache of keys and values, to which new tokens are added in place."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from edge_lorahub.bundle.graphs import PARTS, past_name, present_name

from .onnx_graph import MICROSOFT, Graph


class CachedAttention:
    """The self-attention of one decoder graph, whose new tokens come after a number of past ones.

    onnxruntime's GroupQueryAttention, with as many heads for keys as for queries: where a cache's input and output
    are one memory it writes the new tokens there, which ONNX's Attention does not.
    """

    def __init__(self, g: Graph, heads: int, ids: str, past: str, length: str, bias: str) -> None:
        """ids: the value whose shape is (B, S), S = length; bias: what is added to the scores, (1, H, S, past + S)."""
        self._g = g
        self._heads = heads
        total = g.op("Cast", [g.op("Add", [past, length])], to=TensorProto.INT32)
        last = g.op("Sub", [total, g.constant(1, np.int32)])
        batch = g.op("Shape", [ids], start=0, end=1)
        self._rest = [g.op("Expand", [last, batch]), total, "", "", "", bias]

    def __call__(self, layer: int, inputs: list[str]) -> str:
        """q, k and v (B, S, H K), or one value with them side by side -> contexts (B, S, H K)."""
        pasts, presents = ([name(layer, part) for part in PARTS] for name in (past_name, present_name))
        inputs = [*inputs, *[""] * (3 - len(inputs)), *pasts, *self._rest]
        # T5 does not divide by sqrt(d_kv)
        return self._g.ops(
            "GroupQueryAttention",
            inputs,
            ["", *presents],
            domain=MICROSOFT,
            num_heads=self._heads,
            kv_num_heads=self._heads,
            scale=1.0,
        )[0]
