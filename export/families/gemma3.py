"""Gemma 3's language models (gemma3_text): 270M, 1B, and the text models of the multimodal ones.

Five of six layers have a window, and rotary positions of their own; queries and keys are normed by head, and what
attention and feed-forward give is normed once more.
Honored: as Gemma 1's, with hidden_activation, query_pre_attn_scalar, sliding_window, layer_types or
sliding_window_pattern, rope_local_base_freq, final_logit_softcapping.
Refused: attn_logit_softcapping, which transformers reads in this family and does not apply; attention to tokens on both
sides, as EmbeddingGemma has it.
"""

from __future__ import annotations

from dataclasses import replace

from ..blocks.decoder_config import DecoderConfig
from .config_fields import ConfigFields
from .decoder_family import DecoderFamily
from .gemma2 import NAMES_WITH_OUTPUT_NORMS, read_activation
from .llama_like import ATTENTION, read_llama_like, read_windows
from .rope_fields import FULL, SLIDING, read_ropes_by_kind


def _read(fields: ConfigFields) -> DecoderConfig:
    config = read_llama_like(
        fields, positions=131072, kv_heads=4, head_size=256, activation=None, tied=True, theta=None
    )
    fields.refuse("attn_logit_softcapping", "transformers does not apply it in this family")
    fields.refuse("use_bidirectional_attention", "tokens would attend to those behind them")
    fields.refuse_biases("mlp_bias")
    windows = read_windows(fields, _kinds(fields, config.layers), fields.whole("sliding_window", 4096))
    ropes = read_ropes_by_kind(fields, config.head_size)
    return replace(
        config,
        activation=read_activation(fields),
        ropes=tuple(ropes[FULL if window is None else SLIDING] for window in windows),
        windows=windows,
        score_scale=fields.number("query_pre_attn_scalar", 256) ** -0.5,
        names=NAMES_WITH_OUTPUT_NORMS,
        biases=ATTENTION if fields.flag("attention_bias", False) else frozenset(),
        norms_less_one=True,
        head_norms=True,
        output_norms=True,
        embedding_scale=config.width**0.5,
        logit_cap=fields.optional_number("final_logit_softcapping"),
    )


def _kinds(fields: ConfigFields, layers: int) -> list[str]:
    """Where layer_types does not say: every sixth layer attends to all, or what the older field has."""
    pattern = fields.whole("sliding_window_pattern", fields.whole("_sliding_window_pattern", 6))
    return [SLIDING if (layer + 1) % pattern else FULL for layer in range(layers)]


FAMILY = DecoderFamily("gemma3_text", ("Gemma3ForCausalLM", "Gemma3TextModel"), _read)
