"""The cross-attention with its key and value layers absorbed: no keys and values of the source are made.

A score is q_h . (W_h x) = (W_h^T q_h) . x for the encoder's state x, and a head's context is
W_h (sum of p x), so both layers can be applied on the side of the queries (DeepSeek-V2, arXiv 2405.04434,
section 2.1.2, absorbs its up-projections so). That is less work where the queries are fewer than the source's
tokens: when short answers are scored at once. LoRA in these layers is absorbed with them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from edge_lorahub.bundle.encoder_decoder import ATTENTION_MASK, ENCODER_STATES

from ...blocks.onnx_graph import MICROSOFT, Graph
from .t5_config import T5Config

# The most numbers that onnxruntime's product of float32 sums up in one block, whatever the sizes of its matrices.
_BLOCK = 128
# the layer's kind, x and whether transposed -> for each head x W_h, or x W_h^T, with its LoRA
ByHead = Callable[[str, str, bool], str]


class AbsorbedAttention:
    """Cross-attention of one decoder graph; M is B S, all queries of a head."""

    def __init__(self, g: Graph, config: T5Config, ids: str, masked: float) -> None:
        """ids: the value whose shape is (B, S). Makes the encoder's states an input."""
        self._g = g
        heads = g.constant([config.num_heads])
        batch, length = (g.op("Gather", [g.op("Shape", [ids]), g.constant([axis])]) for axis in (0, 1))
        self._heads, self._size, self._width = config.num_heads, config.d_kv, config.d_model

        def shape(*sizes: str) -> str:
            return g.op("Concat", list(sizes), axis=0)

        width = g.constant([config.d_model])
        # A score sums over d. onnxruntime sums in blocks whose size depends on the number of source tokens, so beside a
        # longer text a text would get other last bits, which in int8 become whole steps. Blocks of our own are not
        # divided further. They are the first axis: onnxruntime adds up along any other in an order that depends on
        # whether there are several texts.
        block = next(size for size in range(_BLOCK, 0, -1) if config.d_model % size == 0)
        blocks = config.d_model // block
        self._in_blocks = shape(heads, batch, length, g.constant([blocks, block]))
        self._by_block_and_text = shape(g.constant([blocks]), batch, g.constant([-1, block]))
        self._by_text_and_head = shape(batch, heads, length, width)
        self._contexts = shape(heads, batch, length, g.constant([config.d_kv]))
        self._states = g.input(ENCODER_STATES, ("B", "T", config.d_model))
        real = g.op("Cast", [g.input(ATTENTION_MASK, ("B", "T"), TensorProto.INT64)], to=TensorProto.BOOL)
        mask = g.op("Where", [real, g.constant(0.0, np.float32), g.constant(masked, np.float32)])
        self._mask = g.op("Unsqueeze", [mask, g.constant([1])])  # (B, 1, T)
        states = g.op("Reshape", [self._states, g.constant([0, 0, blocks, block])])
        self._states_in_blocks = g.op("Transpose", [states], perm=[2, 0, 1, 3])  # (d / block, B, T, block)

    def __call__(self, q: str, by_head: ByHead) -> str:
        """Queries (B, S, H K) -> contexts (B, S, H K), which the output layer reads."""
        g, heads, size = self._g, self._heads, self._size
        q = g.op("Reshape", [q, g.constant([0, 0, heads, size])])
        q = g.op("Transpose", [q], perm=[2, 0, 1, 3])
        q = by_head("k", g.op("Reshape", [q, g.constant([heads, -1, size])]), True)  # (H, M, K) -> (H, M, d)
        q = g.op("Transpose", [g.op("Reshape", [q, self._in_blocks])], perm=[3, 1, 0, 2, 4])
        q = g.op("Reshape", [q, self._by_block_and_text])  # (d / block, B, H S, block)
        scores = g.op("FusedMatMul", [q, self._states_in_blocks], domain=MICROSOFT, transB=1)
        scores = g.op("ReduceSum", [scores, g.constant([0])], keepdims=0)  # (B, H S, T)
        shares = g.op("Softmax", [g.op("Add", [scores, self._mask])], axis=-1)
        x = g.op("Reshape", [g.op("MatMul", [shares, self._states]), self._by_text_and_head])
        x = g.op("Reshape", [g.op("Transpose", [x], perm=[1, 0, 2, 3]), g.constant([heads, -1, self._width])])
        x = by_head("v", x, False)  # (H, M, d) -> (H, M, K)
        x = g.op("Transpose", [g.op("Reshape", [x, self._contexts])], perm=[1, 2, 0, 3])
        return g.op("Reshape", [x, g.constant([0, 0, heads * size])])
