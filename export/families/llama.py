"""Llama, and what is built as it is: SmolLM2, TinyLlama, Llama 3.x with its scaling of rotary positions.

Honored: hidden_size, intermediate_size, vocab_size, num_hidden_layers, num_attention_heads, num_key_value_heads,
head_dim, hidden_act, rms_norm_eps, max_position_embeddings, attention_bias (q, k, v and o), mlp_bias,
tie_word_embeddings, and rotary positions of the kinds "default", "linear" and "llama3".
Refused: windows, and what converters write of models that are not quite Llama.
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
    fields.refuse("rope_interleaved", "pairs of other numbers would be turned", (False,))
    fields.refuse("is_llama_config", "it says that the model is no Llama", (True,))
    fields.refuse("no_rope_layers", "all layers have rotary positions in this family")
    return replace(
        config,
        biases=(ATTENTION if fields.flag("attention_bias", False) else frozenset())
        | (FEED_FORWARD if fields.flag("mlp_bias", False) else frozenset()),
    )


FAMILY = DecoderFamily("llama", ("LlamaForCausalLM", "LlamaModel"), _read)
