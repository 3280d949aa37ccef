"""Gemma 2: Gemma 1 with caps on scores and logits, windows in every second layer, and norms of outputs.

Honored: as Gemma 1's, with hidden_activation, query_pre_attn_scalar, sliding_window, layer_types,
attn_logit_softcapping and final_logit_softcapping, where null is no cap.
Refused: attention to tokens on both sides.
"""

from __future__ import annotations

from dataclasses import replace

from ..blocks.decoder_config import DecoderConfig
from .config_fields import ConfigFields
from .decoder_family import DecoderFamily
from .llama_like import ATTENTION, NAMES, read_llama_like, read_windows
from .rope_fields import FULL, SLIDING

# Gemma 3 has the same.
NAMES_WITH_OUTPUT_NORMS = replace(
    NAMES,
    feed_forward_norm="pre_feedforward_layernorm",
    attention_output_norm="post_attention_layernorm",
    feed_forward_output_norm="post_feedforward_layernorm",
)


def _read(fields: ConfigFields) -> DecoderConfig:
    config = read_llama_like(fields, positions=8192, kv_heads=4, head_size=256, activation=None, tied=True)
    fields.refuse("use_bidirectional_attention", "tokens would attend to those behind them")
    fields.refuse_biases("mlp_bias")
    kinds = [FULL if layer % 2 else SLIDING for layer in range(config.layers)]
    return replace(
        config,
        activation=read_activation(fields),
        windows=read_windows(fields, kinds, fields.whole("sliding_window", 4096)),
        score_scale=fields.number("query_pre_attn_scalar", 256) ** -0.5,
        names=NAMES_WITH_OUTPUT_NORMS,
        biases=ATTENTION if fields.flag("attention_bias", False) else frozenset(),
        norms_less_one=True,
        output_norms=True,
        embedding_scale=config.width**0.5,
        score_cap=_cap(fields, "attn_logit_softcapping", 50.0),
        logit_cap=_cap(fields, "final_logit_softcapping", 30.0),
    )


def read_activation(fields: ConfigFields) -> str:
    """hidden_activation. Published files have hidden_act beside it, which transformers' class does not read."""
    fields.value("hidden_act")
    return fields.activation("hidden_activation", "gelu_pytorch_tanh")


def _cap(fields: ConfigFields, key: str, default: float) -> float | None:
    return None if fields.is_null(key) else fields.number(key, default)


FAMILY = DecoderFamily("gemma2", ("Gemma2ForCausalLM", "Gemma2Model"), _read)
