"""The encoder and decoder graphs of T5 1.0, T5 1.1 (Flan-T5) and mT5.

What the graphs compute is transformers' T5ForConditionalGeneration: RMS norms before each layer, unscaled
dot-product attention with a relative position bias shared by all layers of a stack, and a feed-forward that
is gated or not. The cross-attention's keys and values belong to the encoder graph, where they are computed
once a sequence and not once a token; in the absorbed form there are none.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from onnx import TensorProto

from edge_lorahub.bundle.encoder_decoder import ATTENTION_MASK, ENCODER_STATES, PAST_TOKENS, cross_name
from edge_lorahub.bundle.graphs import (
    INPUT_IDS,
    LOGITS,
    PARTS,
    lora_a_name,
    lora_b_name,
    lora_scale_name,
    past_name,
    present_name,
)
from edge_lorahub.bundle.manifest import EMBEDDING, Slot
from edge_lorahub.tensors.safetensors_file import Float32

from ...blocks.activations import ACTIVATIONS
from ...blocks.cached_attention import CachedAttention
from ...blocks.form import Form
from ...blocks.onnx_graph import MICROSOFT, Graph, WeightFile
from ...blocks.products import Lora, make_products
from ...blocks.relative_positions import position_bias, relative_buckets
from ...source.model_source import Tensors
from .absorption import AbsorbedAttention
from .embeddings import Embeddings
from .t5_config import T5Config

# Added to a score it makes the softmax's term zero. Finite: a row that is masked everywhere stays a number.
MASKED = float(np.finfo(np.float32).min)


class T5Graphs:
    """Writes the two graphs of one checkpoint, in one variant.

    `slots` lists the slots met so far.
    """

    def __init__(
        self,
        config: T5Config,
        checkpoint: Tensors,
        embeddings: Embeddings,
        weights: WeightFile,
        form: Form,
    ) -> None:
        self.slots: list[Slot] = []
        self._config = config
        self._checkpoint = checkpoint
        self._embeddings = embeddings
        self._weights = weights
        self._kinds = form.lora_kinds
        self._int8_lora = form.variant.lora_type == "int8"
        # the technique of the graphs for short outputs
        self._absorbed = form.variant.short
        self._products = make_products(form.precision, self._read, weights, int8_lora=self._int8_lora)

    def _read(self, name: str, shape: tuple[int, ...]) -> Float32:
        return self._checkpoint.read(self._embeddings.embedding if name == EMBEDDING else name, shape)

    def encoder(self) -> Graph:
        """input_ids, attention_mask -> the cross-attention keys and values of every decoder layer.

        Absorbed: -> the encoder's states.
        """
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
            y = self._attention(g, [q, k, v, bias])
            stream = g.op("Add", [stream, self._linear(g, y, f"{block}.0.SelfAttention.o")])
            stream = self._feed_forward(g, stream, f"{block}.1")
        x = self._norm(g, stream, "encoder.final_layer_norm.weight")
        if self._absorbed:
            g.output(x, ENCODER_STATES, ("B", "T", config.d_model))
            return g
        for layer in range(config.num_decoder_layers):
            for part, name in zip("kv", PARTS, strict=True):
                y = self._linear(g, x, f"decoder.block.{layer}.layer.1.EncDecAttention.{part}")
                y = g.op("Reshape", [y, g.constant([0, 0, config.num_heads, config.d_kv])])
                y = g.op("Transpose", [y], perm=[0, 2, 1, 3])
                g.output(y, cross_name(layer, name), ("B", config.num_heads, "T", config.d_kv))
        return g

    def decoder(self) -> Graph:
        """ids, caches of keys and values, cross keys and values -> logits, the caches with the new tokens.

        Absorbed: ids, the encoder's states -> logits.
        """
        config = self._config
        g = Graph("decoder", self._weights)
        ids = g.input(INPUT_IDS, ("B", "S"), TensorProto.INT64)
        if self._absorbed:
            absorbed = AbsorbedAttention(g, config, ids, MASKED)
            past = g.constant(0)
        else:
            mask = self._declare_keys_and_values(g)
            past = g.input(PAST_TOKENS, (), TensorProto.INT64)
        length = self._dimension(g, ids, 1)
        bias = self._position_bias(g, "decoder", past, length)
        if not self._absorbed:
            cached = CachedAttention(g, config.num_heads, ids, past, length, bias)
        stream = self._embed(g, ids)
        for layer in range(config.num_decoder_layers):
            block = f"decoder.block.{layer}.layer"
            x = self._norm(g, stream, f"{block}.0.layer_norm.weight")
            layers = [f"{block}.0.SelfAttention.{part}" for part in "qkv"]
            if self._absorbed:
                y = self._attention(g, [*(self._linear(g, x, name) for name in layers), bias])
            else:
                joined = self._joined(g, x, layers)
                y = cached(layer, [joined] if joined else [self._linear(g, x, name) for name in layers])
            stream = g.op("Add", [stream, self._linear(g, y, f"{block}.0.SelfAttention.o")])
            x = self._norm(g, stream, f"{block}.1.layer_norm.weight")
            cross = f"{block}.1.EncDecAttention"
            q = self._linear(g, x, f"{cross}.q")
            if self._absorbed:
                y = absorbed(q, partial(self._by_head, g, cross))
            else:
                y = self._cross_attention(g, [q, *(cross_name(layer, part) for part in PARTS), "", mask])
            stream = g.op("Add", [stream, self._linear(g, y, f"{cross}.o")])
            stream = self._feed_forward(g, stream, f"{block}.2")
        x = self._norm(g, stream, "decoder.final_layer_norm.weight")
        g.output(self._head(g, x), LOGITS, ("B", "S", config.vocab_size))
        for layer in range(0 if self._absorbed else config.num_decoder_layers):
            for part in PARTS:
                g.declare_output(present_name(layer, part), ("B", config.num_heads, "C + S", config.d_kv))
        return g

    def _declare_keys_and_values(self, g: Graph) -> str:
        """Makes the past's and the source's keys and values inputs; the source's mask, int32 (B, T)."""
        heads, size = self._config.num_heads, self._config.d_kv
        mask = g.op("Cast", [g.input(ATTENTION_MASK, ("B", "T"), TensorProto.INT64)], to=TensorProto.INT32)
        for layer in range(self._config.num_decoder_layers):
            for part in PARTS:
                g.input(past_name(layer, part), ("B", heads, "C", size))
                g.input(cross_name(layer, part), ("B", heads, "T", size))
        return mask

    def _embed(self, g: Graph, ids: str) -> str:
        return self._products.embed(g, EMBEDDING, ids, (self._config.vocab_size, self._config.d_model))

    def _head(self, g: Graph, x: str) -> str:
        config = self._config
        if self._embeddings.scaled:
            x = g.op("Mul", [x, g.constant(config.d_model**-0.5, np.float32)])
        if self._embeddings.head is None:
            return self._products.tied_head(g, x, EMBEDDING, (config.vocab_size, config.d_model))
        return self._products.linear(g, x, self._embeddings.head, config.d_model, config.vocab_size)

    def _norm(self, g: Graph, x: str, weight: str) -> str:
        scale = self._plain(g, weight, self._config.d_model)
        return g.op("RMSNormalization", [x, scale], epsilon=self._config.layer_norm_epsilon)

    def _feed_forward(self, g: Graph, stream: str, layer: str) -> str:
        x = self._norm(g, stream, f"{layer}.layer_norm.weight")
        name = f"{layer}.DenseReluDense"
        if self._config.gated:
            layers = [f"{name}.wi_0", f"{name}.wi_1"]
            joined = self._joined(g, x, layers)
            factor = None
            if joined:
                gate, y = g.ops("Split", [joined], ["", ""], axis=-1, num_outputs=2)
            else:
                gate = self._linear(g, x, layers[0])
                # The widest values of a layer: what their rows are still to be multiplied by goes to the output layer.
                y, factor = self._linear_and_factor(g, x, layers[1])
            y = g.op("Mul", [self._activation(g, gate), y])
            return g.op("Add", [stream, self._linear(g, y, f"{name}.wo", factor)])
        y = self._activation(g, self._linear(g, x, f"{name}.wi"))
        return g.op("Add", [stream, self._linear(g, y, f"{name}.wo")])

    def _activation(self, g: Graph, x: str) -> str:
        return ACTIVATIONS[self._config.activation](g, x)

    def _attention(self, g: Graph, inputs: list[str]) -> str:
        """Self-attention of whole texts. inputs: q, k and v (B, S, H K), and what is added to the scores."""
        heads = self._config.num_heads
        # T5 does not divide by sqrt(d_kv)
        return g.op("Attention", inputs, q_num_heads=heads, kv_num_heads=heads, scale=1.0)

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

    def _linear(self, g: Graph, x: str, name: str, factor: str | None = None) -> str:
        """y = x W, and + ((x A) * scale) B where the layer is a slot.

        factor: (B, S, 1), by which x's rows are still to be multiplied.
        """
        d_in, d_out = self._dimensions(name)
        y = self._products.linear(g, x, f"{name}.weight", d_in, d_out, lora=self._lora(g, name), factor=factor)
        self._note_slot(name)
        return y

    def _linear_and_factor(self, g: Graph, x: str, name: str) -> tuple[str, str | None]:
        """As `_linear`; where there is a factor (B, S, 1), the rows are still to be multiplied by it."""
        y = self._products.linear_and_factor(g, x, f"{name}.weight", *self._dimensions(name), lora=self._lora(g, name))
        self._note_slot(name)
        return y

    def _joined(self, g: Graph, x: str, names: list[str]) -> str | None:
        """The outputs of several layers side by side, from one product, where that is faster: for single tokens.

        None for all other graphs, and for layers with a LoRA.
        """
        slots = self._kinds.intersection(name.rpartition(".")[2] for name in names)
        if g.name == "encoder" or self._absorbed or slots:
            return None
        return self._products.joined(g, x, {f"{name}.weight": self._dimensions(name) for name in names})

    def _by_head(self, g: Graph, block: str, kind: str, x: str, transposed: bool) -> str:
        """For each head x W_h, or x W_h^T, of the layer of that kind in a block, and the LoRA with it."""
        name = f"{block}.{kind}"
        heads, lora = self._config.num_heads, self._lora(g, name)
        dimensions = self._dimensions(name)
        y = self._products.by_head(g, x, f"{name}.weight", *dimensions, heads, transposed=transposed, lora=lora)
        self._note_slot(name)
        return y

    def _lora(self, g: Graph, name: str) -> Lora | None:
        """The LoRA inputs of a linear layer that is a slot."""
        if name.rpartition(".")[2] not in self._kinds:
            return None
        (d_in, d_out), rank = self._dimensions(name), f"r.{name}"
        matrices = TensorProto.INT8 if self._int8_lora else TensorProto.FLOAT
        return Lora(
            g.input(lora_a_name(name), (d_in, rank), matrices),
            g.input(lora_scale_name(name), (rank,)),
            g.input(lora_b_name(name), (rank, d_out), matrices),
        )

    def _note_slot(self, name: str) -> None:
        if name.rpartition(".")[2] in self._kinds:
            offset = self._weights.offset(f"{name}.weight")
            self.slots.append(Slot(name, name.rpartition(".")[2], *self._dimensions(name), offset))

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
            self._weights.add(name, self._read(name, shape))
        return g.weight(name)

    def _position_bias(self, g: Graph, stack: str, past: str, length: str) -> str:
        """float32 (1, H, S, P + S): the relative position bias, and the causal mask in the decoder.

        The bias depends on the distance alone and is constant beyond a farthest distance, so one table of all
        distances, made here, replaces the bucket arithmetic at run time.
        """
        config = self._config
        farthest = config.reach(stack).farthest
        ahead = farthest if stack == "encoder" else 1
        name = f"{stack}.position_bias"
        if name not in self._weights:
            shape = config.relative_attention_num_buckets, config.num_heads
            weight = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
            bucket = relative_buckets(
                np.arange(-farthest, ahead + 1),
                bidirectional=stack == "encoder",
                buckets=config.relative_attention_num_buckets,
                max_distance=config.relative_attention_max_distance,
            )
            table: Float32 = self._read(weight, shape)[bucket]
            if stack == "decoder":
                table[-1] = MASKED  # the future
            self._weights.add(name, table)
        return position_bias(g, g.weight(name), past, length, farthest, ahead)

    @staticmethod
    def _dimension(g: Graph, value: str, axis: int) -> str:
        return g.op("Gather", [g.op("Shape", [value]), g.constant(axis)])
