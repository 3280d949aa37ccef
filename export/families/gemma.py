"""Gemma 1: Llama with heads of a size of their own, norms that are stored less 1, and scaled embeddings.

Honored: as Llama's without mlp_bias. The activation is the approximated gelu: its first config.json's called it
"gelu", and versions of transformers differ in whether they look at hidden_act or hidden_activation.
Refused: other activations, attention to tokens on both sides.
"""

from __future__ import annotations

from dataclasses import replace

from ..blocks.decoder_config import DecoderConfig
from .config_fields import ConfigFields
from .decoder_family import DecoderFamily
from .llama_like import ATTENTION, read_llama_like, refuse_windows

_ACTIVATION = "gelu_pytorch_tanh"


def _read(fields: ConfigFields) -> DecoderConfig:
    config = read_llama_like(fields, positions=8192, kv_heads=16, head_size=256, activation=None, tied=True)
    for key in ("hidden_act", "hidden_activation"):
        fields.refuse(key, f"Gemma's activation is {_ACTIVATION}", ("gelu", _ACTIVATION))
    fields.refuse_biases("mlp_bias")
    fields.refuse("use_bidirectional_attention", "tokens would attend to those behind them")
    refuse_windows(fields)
    return replace(
        config,
        activation=_ACTIVATION,
        biases=ATTENTION if fields.flag("attention_bias", False) else frozenset(),
        norms_less_one=True,
        embedding_scale=config.width**0.5,
    )


FAMILY = DecoderFamily("gemma", ("GemmaForCausalLM", "GemmaModel"), _read)
