"""The layers of a decoder-only model that work on each token alone: embedding, norms, linear layers with LoRA, head.

Tokens are rows: every value is (tokens, width), in whichever arrangement a graph has them.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from edge_lorahub.bundle.graphs import lora_a_name, lora_b_name, lora_scale_name
from edge_lorahub.bundle.manifest import EMBEDDING, Slot

from .activations import ACTIVATIONS
from .decoder_config import DecoderConfig
from .decoder_tensors import DecoderTensors
from .form import Form, LayerSlot
from .onnx_graph import Graph, WeightFile
from .products import Lora
from .row_products import token_products


class TokenLayers:
    """Writes these layers into graphs of one form. `slots` has the linear layers with LoRA inputs met so far."""

    def __init__(self, config: DecoderConfig, tensors: DecoderTensors, weights: WeightFile, form: Form) -> None:
        self.slots: dict[str, Slot] = {}
        self._config = config
        self._tensors = tensors
        self._weights = weights
        self._kinds = form.lora_kinds
        int8 = form.variant.lora_type == "int8"
        self._lora_type = TensorProto.INT8 if int8 else TensorProto.FLOAT
        self._products = token_products(form.precision, tensors.read, weights, int8_lora=int8)

    def embed(self, g: Graph, ids: str) -> str:
        """ids (N,) -> (N, d)."""
        config = self._config
        x = self._products.embed(g, EMBEDDING, ids, (config.vocab_size, config.width))
        return self._scaled(g, x, config.embedding_scale)

    def linear(self, g: Graph, x: str, layer: int, part: str) -> str:
        """The layer q, k, v, o, gate, up or down, with its LoRA and bias."""
        slot = self._config.slot(layer, part)
        weight = f"{slot.name}.weight"
        lora = self._lora(g, slot) if slot.kind in self._kinds else None
        y = self._products.linear(g, x, weight, slot.d_in, slot.d_out, lora=lora)
        if lora is not None:
            self.slots[slot.name] = Slot(slot.name, slot.kind, slot.d_in, slot.d_out, self._weights.offset(weight))
        if part in self._config.biases:
            y = g.op("Add", [y, self._vector(g, f"{slot.name}.bias", slot.d_out)])
        return y

    def norm(self, g: Graph, x: str, name: str) -> str:
        """The RMS norm of that path, over x's last axis of `width` numbers."""
        return self._norm(g, x, name, self._config.width)

    def norm_heads(self, g: Graph, x: str, name: str) -> str:
        """The same for each head of x (N, H K)."""
        size = self._config.head_size
        # a head's numbers become rows of their own, and tokens again
        y = self._norm(g, g.op("Reshape", [x, g.constant([-1, size])]), name, size)
        return g.op("Reshape", [y, g.op("Shape", [x])])

    def feed_forward(self, g: Graph, x: str, layer: int) -> str:
        gate = ACTIVATIONS[self._config.activation](g, self.linear(g, x, layer, "gate"))
        return self.linear(g, g.op("Mul", [gate, self.linear(g, x, layer, "up")]), layer, "down")

    def residual(self, g: Graph, x: str, y: str) -> str:
        return g.op("Add", [x, self._scaled(g, y, self._config.residual_scale)])

    def head(self, g: Graph, x: str) -> str:
        """The last norm and the head: (N, d) -> logits (N, V)."""
        config = self._config
        x = self.norm(g, x, f"{config.names.prefix}.{config.names.final_norm}")
        if self._tensors.head is None:
            y = self._products.tied_head(g, x, EMBEDDING, (config.vocab_size, config.width))
        else:
            y = self._products.linear(g, x, f"{self._tensors.head}.weight", config.width, config.vocab_size)
        y = self._scaled(g, y, config.logit_scale)
        if config.logit_cap is None:
            return y
        cap = g.constant(config.logit_cap, np.float32)
        return g.op("Mul", [g.op("Tanh", [g.op("Div", [y, cap])]), cap])

    def _lora(self, g: Graph, slot: LayerSlot) -> Lora:
        rank = f"r.{slot.name}"
        return Lora(
            g.input(lora_a_name(slot.name), (slot.d_in, rank), self._lora_type),
            g.input(lora_scale_name(slot.name), (rank,)),
            g.input(lora_b_name(slot.name), (rank, slot.d_out), self._lora_type),
        )

    def _norm(self, g: Graph, x: str, name: str, size: int) -> str:
        weight = self._vector(g, f"{name}.weight", size, plus=1.0 if self._config.norms_less_one else 0.0)
        return g.op("RMSNormalization", [x, weight], epsilon=self._config.epsilon)

    def _vector(self, g: Graph, name: str, size: int, plus: float = 0.0) -> str:
        if name not in self._weights:
            self._weights.add(name, self._tensors.read(name, (size,)) + np.float32(plus))
        return g.weight(name)

    @staticmethod
    def _scaled(g: Graph, x: str, scale: float) -> str:
        return x if scale == 1 else g.op("Mul", [x, g.constant(scale, np.float32)])
