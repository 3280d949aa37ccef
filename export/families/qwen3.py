"""Qwen 3, dense: Qwen 2 whose queries and keys are normed by head.

Honored: as Qwen 2's, with head_dim (128 where config.json does not say) and attention_bias (q, k, v and o).
"""

from __future__ import annotations

from dataclasses import replace

from ..blocks.decoder_config import DecoderConfig
from .config_fields import ConfigFields
from .decoder_family import DecoderFamily
from .llama_like import ATTENTION, read_llama_like
from .qwen2 import refuse_other_attention, windows


def _read(fields: ConfigFields) -> DecoderConfig:
    kv_heads = None if fields.is_null("num_key_value_heads") else 32
    config = read_llama_like(fields, positions=32768, kv_heads=kv_heads, head_size=128)
    fields.refuse_biases("mlp_bias")
    refuse_other_attention(fields)
    return replace(
        config,
        biases=ATTENTION if fields.flag("attention_bias", False) else frozenset(),
        windows=windows(fields, config.layers),
        head_norms=True,
    )


FAMILY = DecoderFamily("qwen3", ("Qwen3ForCausalLM", "Qwen3Model"), _read)
