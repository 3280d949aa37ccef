"""Fields of a T5's config.json that the exporter does not read: refused where they change the model, or named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...source.generation_config import DECODING
from ..config_fields import ConfigFields

_READ = (
    "vocab_size", "d_model", "d_kv", "d_ff", "num_heads", "num_layers", "num_decoder_layers", "dense_act_fn",
    "relative_attention_num_buckets", "relative_attention_max_distance", "layer_norm_epsilon", "feed_forward_proj",
    "is_gated_act", "tie_word_embeddings", "scale_decoder_outputs", "quantization_config",
)  # fmt: skip
# Of training, or of T5's first implementation.
_IDLE = (
    "dropout_rate", "initializer_factor", "n_positions", "output_past", "tf_legacy_loss", "gradient_checkpointing",
    "add_cross_attention", "cross_attention_hidden_size", "summary_type", "vocab_files",
)  # fmt: skip


def account_for_others(fields: Mapping[str, Any], path: Path) -> None:
    """Raises CheckpointError for fields that ask for another model, and warns of those that are not known."""
    checked = ConfigFields(fields, path)
    for key in (*_READ, *_IDLE, *DECODING):
        checked.value(key)
    checked.refuse("tie_encoder_decoder", "the encoder and the decoder have weights of their own")
    checked.refuse("pruned_heads", "every layer has all its heads")
    checked.refuse("is_encoder_decoder", "a T5 has an encoder and a decoder", idle=(None, True))
    checked.warn_of_unknown()
