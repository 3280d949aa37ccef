"""Granite, dense (3.x): Llama with four scales.

Honored: as Llama's, and embedding_multiplier, attention_multiplier (in place of 1 / sqrt(head_dim)),
residual_multiplier, logits_scaling.
"""

from __future__ import annotations

from dataclasses import replace

from ..blocks.decoder_config import DecoderConfig
from .config_fields import ConfigFields
from .decoder_family import DecoderFamily
from .llama_like import ATTENTION, FEED_FORWARD, read_llama_like, refuse_windows


def _read(fields: ConfigFields) -> DecoderConfig:
    config = read_llama_like(fields, positions=2048)
    refuse_windows(fields)
    return replace(
        config,
        score_scale=fields.number("attention_multiplier", 1.0),
        biases=(ATTENTION if fields.flag("attention_bias", False) else frozenset())
        | (FEED_FORWARD if fields.flag("mlp_bias", False) else frozenset()),
        embedding_scale=fields.number("embedding_multiplier", 1.0),
        residual_scale=fields.number("residual_multiplier", 1.0),
        logit_scale=1 / fields.number("logits_scaling", 1.0),
    )


FAMILY = DecoderFamily("granite", ("GraniteForCausalLM", "GraniteModel"), _read)
