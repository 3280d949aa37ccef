"""T5 1.0, T5 1.1 (Flan-T5) and mT5: encoder-decoders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_lorahub.bundle.architectures import ENCODER_DECODER
from edge_lorahub.bundle.manifest import ModelConfig

from ...blocks.form import Form
from ...blocks.onnx_graph import WeightFile
from ...source.encoder_decoder_tokens import encoder_decoder_tokens
from ...source.model_source import ModelSource, Tensors, TextTokens
from ..protocol import Writer, Written
from .embeddings import find_embeddings
from .t5_config import FAMILIES, T5Config, read_t5_config
from .t5_graphs import T5Graphs

# In the published T5 checkpoints, and used by no version of the model.
_LEFT_OVER = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)


class T5Family:
    """A `protocol.Family`. One encoder and one decoder serve both roles, in the variants that both have."""

    model_types = FAMILIES
    architecture = ENCODER_DECODER

    def read(self, fields: Mapping[str, Any], path: Path) -> T5Config:
        return read_t5_config(fields, path)

    def slot_kinds(self, config: T5Config) -> tuple[str, ...]:
        return config.slot_kinds

    def usual_kinds(self, config: T5Config) -> tuple[str, ...]:
        """peft's own for T5."""
        return "q", "v"

    def least_onnxruntime(self, config: T5Config) -> tuple[int, int]:
        # of ONNX's opset 23, for its Attention
        return 1, 23

    def text_tokens(self, config: T5Config, source: ModelSource) -> TextTokens:
        return encoder_decoder_tokens(source, config.vocab_size)

    def model(self, config: T5Config, tokens: TextTokens, base_model: str) -> ModelConfig:
        special = tokens.special
        return ModelConfig(
            family=config.model_type,
            base_model=base_model,
            vocab_size=config.vocab_size,
            layers=config.num_decoder_layers,
            heads=config.num_heads,
            kv_heads=config.num_heads,
            head_size=config.d_kv,
            start_token_id=special.decoder_start_token_id,
            eos_token_id=tokens.eos,
            pad_token_id=special.pad_token_id,
            end_token_ids=special.end_token_ids,
            forced_bos_token_id=special.forced_bos_token_id,
            forced_eos_token_id=special.forced_eos_token_id,
            longest_input=config.reach("encoder").longest,
            longest_output=config.reach("decoder").longest,
        )

    def writer(self, config: T5Config, tensors: Tensors, weights: WeightFile) -> Writer:
        embeddings = find_embeddings(config, tensors)

        def write(form: Form) -> Written:
            graphs = T5Graphs(config, tensors, embeddings, weights, form)
            return Written((graphs.encoder(), graphs.decoder()), tuple(graphs.slots))

        return write

    def is_left_over(self, name: str) -> bool:
        return name in _LEFT_OVER


FAMILY = T5Family()
