"""Causal attention over packed tokens: each distinct beginning of a text is there once, and is computed once.

All other layers work on the packed tokens (N,). Attention alone needs whole texts: queries, keys and values are
gathered to the places (B, T) of the texts, padded on the right, which a causal attention never looks at; and a packed
token's context is taken from one of the places where it stands, since all have the same tokens before them.

In the last layer the tokens that predict no label are keys and values for the others and nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from edge_lorahub.bundle.decoder_only import PLACES, POSITIONS, ROWS, SCORED, SCORED_PLACES, SCORED_ROWS
from edge_lorahub.bundle.graphs import INPUT_IDS

from .decoder_config import DecoderConfig
from .onnx_graph import MICROSOFT, Graph, WeightFile
from .rotary import table_weights

# Added to a score it makes the softmax's term zero. Finite: a row that is masked everywhere stays a number.
MASKED = float(np.finfo(np.float32).min)


class PackedAttention:
    """The attention of the score graph. ids: the packed tokens (N,)."""

    def __init__(self, g: Graph, config: DecoderConfig, weights: WeightFile) -> None:
        """Makes the packed tokens and how they lie inputs of the graph."""
        self._g, self._config, self._weights = g, config, weights
        whole = TensorProto.INT64
        self.ids = g.input(INPUT_IDS, ("N",), whole)
        self._positions = g.input(POSITIONS, ("N",), whole)
        self._rows = g.input(ROWS, ("B", "T"), whole)
        self._places = g.input(PLACES, ("N",), whole)
        self._scored = g.input(SCORED, ("M",), whole)
        self._scored_rows = g.input(SCORED_ROWS, ("B", "L"), whole)
        self._scored_places = g.input(SCORED_PLACES, ("M",), whole)
        length = g.op("Gather", [g.op("Shape", [self._rows]), g.constant(1)])
        self._key_places = g.op("Range", [g.constant(0), length, g.constant(1)])  # (T,)
        self._masks: dict[int, str] = {}

    def asking(self, layer: int, value: str) -> str:
        """What goes on above a layer's keys and values, of a value (N, ...): in the last layer (M, ...)."""
        return self._g.op("Gather", [value, self._scored]) if self._is_last(layer) else value

    def __call__(self, layer: int, q: str, k: str, v: str) -> str:
        """q (asking, H K), k and v (N, kv K) -> contexts (asking, H K)."""
        g, config, last = self._g, self._config, self._is_last(layer)
        q = self._rotate(layer, q, self.asking(layer, self._positions), config.heads)
        k = self._rotate(layer, k, self._positions, config.kv_heads)
        inputs = [
            g.op("Gather", [q, self._scored_rows if last else self._rows]),
            g.op("Gather", [k, self._rows]),
            g.op("Gather", [v, self._rows]),
        ]
        attributes: dict[str, Any] = {
            "q_num_heads": config.heads,
            "kv_num_heads": config.kv_heads,
            "scale": config.score_scale,
        }
        if config.score_cap is not None:
            attributes["softcap"] = config.score_cap
        window = config.window(layer)
        if last:
            inputs.append(self._mask_of_scored(window))
        elif window is not None:
            inputs.append(self._mask(window))
        else:
            attributes["is_causal"] = 1
        y = g.op("Attention", inputs, **attributes)  # (B, T or L, H K)
        y = g.op("Reshape", [y, g.constant([-1, config.heads * config.head_size])])
        return g.op("Gather", [y, self._scored_places if last else self._places])

    def wanted(self, x: str) -> str:
        """Of what the last layer gives, the tokens whose logits are wanted: all of it."""
        return x

    def _is_last(self, layer: int) -> bool:
        return layer == self._config.layers - 1

    def _rotate(self, layer: int, x: str, positions: str, heads: int) -> str:
        g, config = self._g, self._config
        tables = table_weights(g, self._weights, config.ropes[layer], config.longest)
        # texts of one token each: the operator refuses a text of more tokens than the tables have rows
        one = g.constant([1])
        single = [g.op("Unsqueeze", [value, one]) for value in (x, positions)]
        y = g.op("RotaryEmbedding", [*single, *tables], domain=MICROSOFT, num_heads=heads)
        return g.op("Squeeze", [y, one])

    def _mask(self, window: int) -> str:
        """float32 (T, T), for all layers with that window."""
        if window not in self._masks:
            queries = self._g.op("Unsqueeze", [self._key_places, self._g.constant([1])])
            self._masks[window] = self._allowed(queries, window)
        return self._masks[window]

    def _mask_of_scored(self, window: int | None) -> str:
        """float32 (B, 1, L, T)."""
        g = self._g
        places = g.op("Gather", [g.op("Gather", [self._positions, self._scored]), self._scored_rows])  # (B, L)
        return self._allowed(g.op("Unsqueeze", [places, g.constant([1, 3])]), window)

    def _allowed(self, queries: str, window: int | None) -> str:
        """0 where a query may attend to a key, by their places in the text."""
        g, keys = self._g, self._key_places
        allowed = g.op("LessOrEqual", [keys, queries])
        if window is not None:
            first = g.op("Sub", [queries, g.constant(window)])
            allowed = g.op("And", [allowed, g.op("Greater", [keys, first])])
        return g.op("Where", [allowed, g.constant(0.0, np.float32), g.constant(MASKED, np.float32)])
