"""Qwen 2 and 2.5 (and QwQ): Llama with biases in q, k and v, and perhaps windows in the upper layers.

Honored: as Llama's without its biases, and use_sliding_window, sliding_window, max_window_layers, layer_types. q, k
and v have biases whatever config.json says.
Refused: multimodal rotary positions, and the chunked attention of the models for a million tokens.
"""

from __future__ import annotations

from dataclasses import replace

from ..blocks.decoder_config import DecoderConfig
from .config_fields import ConfigFields
from .decoder_family import DecoderFamily
from .llama_like import read_llama_like, read_windows
from .rope_fields import FULL, SLIDING


def _read(fields: ConfigFields) -> DecoderConfig:
    config = read_llama_like(fields, positions=32768, kv_heads=None if fields.is_null("num_key_value_heads") else 32)
    fields.refuse("attention_bias", "q, k and v have biases in this family, and o has none", (True,))
    fields.refuse_biases("mlp_bias")
    refuse_other_attention(fields)
    return replace(config, biases=frozenset("qkv"), windows=windows(fields, config.layers))


def refuse_other_attention(fields: ConfigFields) -> None:
    """What Qwen's other models have."""
    fields.refuse("use_mrope", "multimodal rotary positions")
    fields.refuse("dual_chunk_attention_config", "attention in chunks")


def windows(fields: ConfigFields, layers: int) -> tuple[int | None, ...]:
    """Qwen's windows: none unless use_sliding_window, and then from the layer max_window_layers on."""
    used = fields.flag("use_sliding_window", False)
    first = fields.whole("max_window_layers", 28, least=0)
    window = None if fields.is_null("sliding_window") else fields.whole("sliding_window", 4096)
    window = window if used else None
    kinds = [SLIDING if window is not None and layer >= first else FULL for layer in range(layers)]
    return read_windows(fields, kinds, window)


FAMILY = DecoderFamily("qwen2", ("Qwen2ForCausalLM", "Qwen2Model"), _read)
