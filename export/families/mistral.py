"""Mistral: Llama with a window in all layers, or in none.

Honored: as Llama's without biases, and sliding_window, which is 4096 where config.json does not have it and none
where it is null, as in transformers.
Refused: biases, and layer_types, which transformers does not look at in this family.
"""

from __future__ import annotations

from dataclasses import replace

from ..blocks.decoder_config import DecoderConfig
from .config_fields import ConfigFields
from .decoder_family import DecoderFamily
from .llama_like import read_llama_like


def _read(fields: ConfigFields) -> DecoderConfig:
    config = read_llama_like(fields, positions=131072, kv_heads=None if fields.is_null("num_key_value_heads") else 8)
    fields.refuse_biases("attention_bias", "mlp_bias")
    fields.refuse("layer_types", "in transformers all layers of this family are alike")
    window = None if fields.is_null("sliding_window") else fields.whole("sliding_window", 4096)
    return replace(config, windows=(window,) * config.layers)


FAMILY = DecoderFamily("mistral", ("MistralForCausalLM", "MistralModel"), _read)
