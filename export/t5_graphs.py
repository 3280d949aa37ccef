"""The encoder and decoder graphs of T5 1.0, T5 1.1 (Flan-T5) and mT5.

What the graphs compute is transformers' T5ForConditionalGeneration: RMS norms before each layer, unscaled
dot-product attention with a relative position bias shared by all layers of a stack, and a feed-forward that
is gated or not. The cross-attention's keys and values belong to the encoder graph, where they are computed
once a sequence and not once a token.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from edge_lorahub.contract import (
    ATTENTION_MASK,
    INPUT_IDS,
    LOGITS,
    Slot,
    cross_name,
    lora_a_name,
    lora_b_name,
    lora_scale_name,
    past_name,
    present_name,
)
from edge_lorahub.tensors import Float32

from .checkpoint import Checkpoint
from .graph import MICROSOFT, Graph, WeightFile
from .products import Lora, make_products
from .t5_config import T5Config

EMBEDDING = "shared.weight"
# Added to a score it makes the softmax's term zero. Finite: a row that is masked everywhere stays a number.
MASKED = float(np.finfo(np.float32).min)


def relative_buckets(
    distance: NDArray[np.int64], *, bidirectional: bool, buckets: int, max_distance: int
) -> NDArray[np.int64]:
    """The bucket of each distance `key position - query position`; of the same shape as distance.

    Raffel et al., arXiv 1910.10683, section 2.1, in the arithmetic (float32) of the reference
    implementation: half of the buckets are exact, the others grow logarithmically up to max_distance.
    """
    result = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        result += (distance > 0) * buckets
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = buckets // 2
    ratio = np.maximum(distance, 1).astype(np.float32) / np.float32(exact)
    growth = np.log(ratio) / np.float32(np.log(max_distance / exact)) * np.float32(buckets - exact)
    large = np.minimum(exact + growth.astype(np.int64), buckets - 1)
    result += np.where(distance < exact, distance, large)
    return result


class T5Graphs:
    """Writes the two graphs of one checkpoint, in one form of LoRA; `slots` lists the slots met so far."""

    def __init__(
        self,
        config: T5Config,
        checkpoint: Checkpoint,
        weights: WeightFile,
        kinds: Iterable[str],
        precision: str,
        lora: str,
    ) -> None:
        self.slots: list[Slot] = []
        self._config = config
        self._checkpoint = checkpoint
        self._weights = weights
        self._kinds = frozenset(() if lora == "none" else kinds)
        self._int8_lora = lora == "int8"
        self._products = make_products(precision, checkpoint.read, weights, int8_lora=self._int8_lora)

    def encoder(self) -> Graph:
        """input_ids, attention_mask -> the cross-attention keys and values of every decoder layer."""
        config = self._config
        g = Graph("encoder", self._weights)
        ids = g.input(INPUT_IDS, ("B", "T"), TensorProto.INT64)
        real = g.op("Cast", [g.input(ATTENTION_MASK, ("B", "T"), TensorProto.INT64)], to=TensorProto.BOOL)
        mask = g.op("Where", [real, g.constant(0.0, np.float32), g.constant(MASKED, np.float32)])
        mask = g.op("Unsqueeze", [mask, g.constant([1, 2])])
        length = self._dimension(g, ids, 1)
        bias = g.op("Add", [self._position_bias(g, "encoder", g.constant(0), length), mask])  # (B, H, T, T)
        stream = self._embed(g, ids)
        for layer in range(config.num_layers):
            block = f"encoder.block.{layer}.layer"
            x = self._norm(g, stream, f"{block}.0.layer_norm.weight")
            q, k, v = (self._linear(g, x, f"{block}.0.SelfAttention.{part}") for part in "qkv")
            y = self._attention(g, [q, k, v, bias])[0]
            stream = g.op("Add", [stream, self._linear(g, y, f"{block}.0.SelfAttention.o")])
            stream = self._feed_forward(g, stream, f"{block}.1")
        x = self._norm(g, stream, "encoder.final_layer_norm.weight")
        for layer in range(config.num_decoder_layers):
            for part, name in (("k", "key"), ("v", "value")):
                y = self._linear(g, x, f"decoder.block.{layer}.layer.1.EncDecAttention.{part}")
                y = g.op("Reshape", [y, g.constant([0, 0, config.num_heads, config.d_kv])])
                y = g.op("Transpose", [y], perm=[0, 2, 1, 3])
                g.output(y, cross_name(layer, name), ("B", config.num_heads, "T", config.d_kv))
        return g

    def decoder(self) -> Graph:
        """ids, past and cross keys and values -> logits, present keys and values."""
        config = self._config
        heads, size = config.num_heads, config.d_kv
        g = Graph("decoder", self._weights)
        ids = g.input(INPUT_IDS, ("B", "S"), TensorProto.INT64)
        mask = g.op("Cast", [g.input(ATTENTION_MASK, ("B", "T"), TensorProto.INT64)], to=TensorProto.INT32)
        for layer in range(config.num_decoder_layers):
            for part in ("key", "value"):
                g.input(past_name(layer, part), ("B", heads, "P", size))
                g.input(cross_name(layer, part), ("B", heads, "T", size))
        past = self._dimension(g, past_name(0, "key"), 2)
        bias = self._position_bias(g, "decoder", past, self._dimension(g, ids, 1))
        stream = self._embed(g, ids)
        for layer in range(config.num_decoder_layers):
            block = f"decoder.block.{layer}.layer"
            x = self._norm(g, stream, f"{block}.0.layer_norm.weight")
            q, k, v = (self._linear(g, x, f"{block}.0.SelfAttention.{part}") for part in "qkv")
            pasts = [past_name(layer, part) for part in ("key", "value")]
            presents = [present_name(layer, part) for part in ("key", "value")]
            y = self._attention(g, [q, k, v, bias, *pasts], presents)[0]
            stream = g.op("Add", [stream, self._linear(g, y, f"{block}.0.SelfAttention.o")])
            x = self._norm(g, stream, f"{block}.1.layer_norm.weight")
            q = self._linear(g, x, f"{block}.1.EncDecAttention.q")
            y = self._cross_attention(g, [q, cross_name(layer, "key"), cross_name(layer, "value"), "", mask])
            stream = g.op("Add", [stream, self._linear(g, y, f"{block}.1.EncDecAttention.o")])
            stream = self._feed_forward(g, stream, f"{block}.2")
        x = self._norm(g, stream, "decoder.final_layer_norm.weight")
        g.output(self._head(g, x), LOGITS, ("B", "S", config.vocab_size))
        for layer in range(config.num_decoder_layers):
            for part in ("key", "value"):
                g.declare_output(present_name(layer, part), ("B", heads, "P + S", size))
        return g

    def _embed(self, g: Graph, ids: str) -> str:
        return self._products.embed(g, EMBEDDING, ids, (self._config.vocab_size, self._config.d_model))

    def _head(self, g: Graph, x: str) -> str:
        config = self._config
        if config.scaled_head:
            x = g.op("Mul", [x, g.constant(config.d_model**-0.5, np.float32)])
        if config.tied_head:
            return self._products.tied_head(g, x, EMBEDDING, (config.vocab_size, config.d_model))
        return self._products.linear(g, x, "lm_head.weight", config.d_model, config.vocab_size)

    def _norm(self, g: Graph, x: str, weight: str) -> str:
        scale = self._plain(g, weight, self._config.d_model)
        return g.op("RMSNormalization", [x, scale], epsilon=self._config.layer_norm_epsilon)

    def _feed_forward(self, g: Graph, stream: str, layer: str) -> str:
        x = self._norm(g, stream, f"{layer}.layer_norm.weight")
        name = f"{layer}.DenseReluDense"
        if self._config.gated:
            gate = self._linear(g, x, f"{name}.wi_0")
            y = g.op("Mul", [self._activation(g, gate), self._linear(g, x, f"{name}.wi_1")])
        else:
            y = self._activation(g, self._linear(g, x, f"{name}.wi"))
        return g.op("Add", [stream, self._linear(g, y, f"{name}.wo")])

    def _activation(self, g: Graph, x: str) -> str:
        if self._config.activation == "relu":
            return g.op("Relu", [x])
        return g.op("Gelu", [x], approximate="tanh")  # transformers' gelu_new

    def _attention(self, g: Graph, inputs: list[str], presents: Iterable[str] = ()) -> list[str]:
        """Self-attention. inputs: q, k and v (B, S, H K), what is added to the scores, past keys and values."""
        heads = self._config.num_heads
        # T5 does not divide by sqrt(d_kv)
        return g.ops("Attention", inputs, ["", *presents], q_num_heads=heads, kv_num_heads=heads, scale=1.0)

    def _cross_attention(self, g: Graph, inputs: list[str]) -> str:
        """inputs: q (B, S, H K), keys and values (B, H, T, K), no bias, and the source's mask.

        ONNX's own operator takes q and the keys in one layout alone. In q's a head's keys lie apart, and every
        token takes 3 % longer.
        """
        return g.op(
            "MultiHeadAttention",
            inputs,
            domain=MICROSOFT,
            num_heads=self._config.num_heads,
            scale=1.0,
            mask_filter_value=MASKED,
        )

    def _linear(self, g: Graph, x: str, name: str) -> str:
        """y = x W, and + ((x A) * scale) B where the layer is a slot."""
        d_in, d_out = self._dimensions(name)
        weight = f"{name}.weight"
        kind = name.rpartition(".")[2]
        lora = None
        if kind in self._kinds:
            rank = f"r.{name}"
            matrices = TensorProto.INT8 if self._int8_lora else TensorProto.FLOAT
            lora = Lora(
                g.input(lora_a_name(name), (d_in, rank), matrices),
                g.input(lora_scale_name(name), (rank,)),
                g.input(lora_b_name(name), (rank, d_out), matrices),
            )
        # what the feed-forward's output layer reads has outliers in some tokens
        y = self._products.linear(g, x, weight, d_in, d_out, lora=lora, uneven=kind == "wo")
        if lora:
            self.slots.append(Slot(name, d_in, d_out, g.name, self._weights.offset(weight)))
        return y

    def _dimensions(self, name: str) -> tuple[int, int]:
        config = self._config
        kind = name.rpartition(".")[2]
        if kind in ("q", "k", "v"):
            return config.d_model, config.inner
        if kind == "o":
            return config.inner, config.d_model
        return (config.d_ff, config.d_model) if kind == "wo" else (config.d_model, config.d_ff)

    def _plain(self, g: Graph, name: str, *shape: int) -> str:
        """A weight as the checkpoint has it."""
        if name not in self._weights:
            self._weights.add(name, self._checkpoint.read(name, shape))
        return g.weight(name)

    def _position_bias(self, g: Graph, stack: str, past: str, length: str) -> str:
        """float32 (1, H, S, P + S): the relative position bias, and the causal mask in the decoder.

        The bias depends on the distance alone and is constant beyond max_distance, so one table of all
        distances, made here, replaces the bucket arithmetic at run time.
        """
        config = self._config
        bidirectional = stack == "encoder"
        farthest = config.relative_attention_max_distance
        name = f"{stack}.position_bias"
        source = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        ahead = farthest if bidirectional else 1
        distance = np.arange(-farthest, ahead + 1)
        bucket = relative_buckets(
            distance,
            bidirectional=bidirectional,
            buckets=config.relative_attention_num_buckets,
            max_distance=farthest,
        )
        if name not in self._weights:
            shape = config.relative_attention_num_buckets, config.num_heads
            table: Float32 = self._checkpoint.read(source, shape)[bucket]
            if not bidirectional:
                table[-1] = MASKED  # the future
            self._weights.add(name, table)
        zero, one = g.constant(0), g.constant(1)
        total = g.op("Add", [past, length])
        key = g.op("Range", [zero, total, one])
        query = g.op("Unsqueeze", [g.op("Range", [past, total, one]), g.constant([1])])
        index = g.op("Clip", [g.op("Sub", [key, query]), g.constant(-farthest), g.constant(ahead)])
        index = g.op("Add", [index, g.constant(farthest)])
        bias = g.op("Gather", [g.weight(name), index])  # (S, P + S, H)
        return g.op("Unsqueeze", [g.op("Transpose", [bias], perm=[2, 0, 1]), g.constant([0])])

    @staticmethod
    def _dimension(g: Graph, value: str, axis: int) -> str:
        return g.op("Gather", [g.op("Shape", [value]), g.constant(axis)])
