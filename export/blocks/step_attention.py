"""Causal attention over a cache of keys and values, to which a batch's new tokens are added in place."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from edge_lorahub.bundle.decoder_only import ENDS, LAST, TOTAL
from edge_lorahub.bundle.graphs import INPUT_IDS, PARTS, past_name, present_name

from .decoder_config import DecoderConfig
from .onnx_graph import MICROSOFT, Graph, WeightFile
from .rotary import table_weights


class StepAttention:
    """The attention of the graph that generates. ids: the batch's new tokens as rows, (B S,).

    onnxruntime's GroupQueryAttention turns queries and keys, writes the new keys and values into the cache and attends.
    Each text has its own end, so that prompts of several lengths, padded on the right, and then tokens at each text's
    own place work as they are.
    """

    def __init__(self, g: Graph, config: DecoderConfig, weights: WeightFile) -> None:
        """Makes the new tokens and the caches inputs of the graph."""
        self._g, self._config, self._weights = g, config, weights
        ids = g.input(INPUT_IDS, ("B", "S"), TensorProto.INT64)
        self._ends = g.input(ENDS, ("B",), TensorProto.INT32)
        self._total = g.input(TOTAL, (), TensorProto.INT32)
        self._last = g.input(LAST, ("B",), TensorProto.INT64)
        for layer in range(config.layers):
            for part in PARTS:
                g.input(past_name(layer, part), self._cache)
        self.ids = g.op("Reshape", [ids, g.constant([-1])])
        # (B, S, -1): for one token small operators are a part of the time, so it is made once
        self._texts = g.op("Concat", [g.op("Shape", [ids]), g.constant([-1])], axis=0)

    @property
    def _cache(self) -> tuple[int | str, ...]:
        return "B", self._config.kv_heads, "C", self._config.head_size

    def asking(self, layer: int, value: str) -> str:
        """What goes on above a layer's keys and values: all tokens."""
        return value

    def __call__(self, layer: int, q: str, k: str, v: str) -> str:
        """q (B S, H K), k and v (B S, kv K) -> contexts (B S, H K)."""
        g, config = self._g, self._config
        pasts, presents = ([name(layer, part) for part in PARTS] for name in (past_name, present_name))
        attributes: dict[str, Any] = {
            "num_heads": config.heads,
            "kv_num_heads": config.kv_heads,
            "scale": config.score_scale,
            "do_rotary": 1,
        }
        if (window := config.window(layer)) is not None:
            attributes["local_window_size"] = window
        if config.score_cap is not None:
            attributes["softcap"] = config.score_cap
        texts = [g.op("Reshape", [value, self._texts]) for value in (q, k, v)]
        tables = table_weights(g, self._weights, config.ropes[layer], config.longest)
        inputs = [*texts, *pasts, self._ends, self._total, *tables]
        y = g.ops("GroupQueryAttention", inputs, ["", *presents], domain=MICROSOFT, **attributes)[0]
        return g.op("Reshape", [y, g.constant([-1, config.heads * config.head_size])])

    def wanted(self, x: str) -> str:
        """Of what the last layer gives, each text's last token: (B S, d) -> (B, d)."""
        return self._g.op("Gather", [x, self._last])

    def declare_caches(self) -> None:
        """Makes the caches with the new tokens outputs of the graph."""
        for layer in range(self._config.layers):
            for part in PARTS:
                self._g.declare_output(present_name(layer, part), self._cache)
