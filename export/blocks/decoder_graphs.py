"""The two graphs of a decoder-only model: one scores packed tokens, one generates with a cache.

Both are the same layers, (tokens, width) in and out, around an attention of their own.
"""

from __future__ import annotations

from typing import Protocol

from edge_lorahub.bundle.graphs import LOGITS
from edge_lorahub.bundle.manifest import Slot

from .decoder_config import DecoderConfig
from .decoder_tensors import DecoderTensors
from .form import Form
from .onnx_graph import Graph, WeightFile
from .packed_attention import PackedAttention
from .step_attention import StepAttention
from .token_layers import TokenLayers


class _Attention(Protocol):
    """What the layers need of an attention; see the two that there are."""

    ids: str

    def asking(self, layer: int, value: str) -> str: ...

    def __call__(self, layer: int, q: str, k: str, v: str) -> str: ...

    def wanted(self, x: str) -> str: ...


class DecoderGraphs:
    """Writes the graphs of one checkpoint in one form."""

    def __init__(self, config: DecoderConfig, tensors: DecoderTensors, weights: WeightFile, form: Form) -> None:
        self._config = config
        self._weights = weights
        self._layers = TokenLayers(config, tensors, weights, form)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots of the graphs that were written."""
        return tuple(self._layers.slots.values())

    def score(self) -> Graph:
        """Packed tokens -> the logits that predict the label tokens, (M, V)."""
        g = Graph("score", self._weights)
        logits = self._model(g, PackedAttention(g, self._config, self._weights))
        g.output(logits, LOGITS, ("M", self._config.vocab_size))
        return g

    def generate(self) -> Graph:
        """A batch's new tokens and caches -> the logits of each text's last token, (B, V), and the caches."""
        g = Graph("generate", self._weights)
        attention = StepAttention(g, self._config, self._weights)
        g.output(self._model(g, attention), LOGITS, ("B", self._config.vocab_size))
        attention.declare_caches()
        return g

    def _model(self, g: Graph, attention: _Attention) -> str:
        x = self._layers.embed(g, attention.ids)
        for layer in range(self._config.layers):
            x = self._layer(g, attention, x, layer)
        return self._layers.head(g, attention.wanted(x))

    def _layer(self, g: Graph, attention: _Attention, x: str, layer: int) -> str:
        layers, names = self._layers, self._config.names
        h = layers.norm(g, x, names.layer(layer, names.attention_norm))
        q = layers.linear(g, attention.asking(layer, h), layer, "q")
        k, v = (layers.linear(g, h, layer, part) for part in "kv")
        if self._config.head_norms:
            q = layers.norm_heads(g, q, names.layer(layer, names.q_norm))
            k = layers.norm_heads(g, k, names.layer(layer, names.k_norm))
        y = layers.linear(g, attention(layer, q, k, v), layer, "o")
        if self._config.output_norms:
            y = layers.norm(g, y, names.layer(layer, names.attention_output_norm))
        x = layers.residual(g, attention.asking(layer, x), y)
        y = layers.feed_forward(g, layers.norm(g, x, names.layer(layer, names.feed_forward_norm)), layer)
        if self._config.output_norms:
            y = layers.norm(g, y, names.layer(layer, names.feed_forward_output_norm))
        return layers.residual(g, x, y)
