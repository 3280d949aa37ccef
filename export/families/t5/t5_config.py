"""What the exporter needs of a T5 checkpoint's config.json, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError

from ...blocks.activations import ACTIVATIONS
from ...blocks.relative_positions import Reach, least_buckets, reach
from ...source.json_fields import flag, whole
from .other_fields import account_for_others

FAMILIES = ("t5", "mt5")
ATTENTION_SLOTS = ("q", "k", "v", "o")


@dataclass(frozen=True)
class T5Config:
    """The dimensions and switches of a T5 encoder-decoder; the names are those of config.json.

    tie_word_embeddings and scale_decoder_outputs are None where config.json does not say; transformers_major is the
    major version that wrote it, 0 where it does not say.
    """

    model_type: str
    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_heads: int
    num_layers: int
    num_decoder_layers: int
    relative_attention_num_buckets: int
    relative_attention_max_distance: int
    layer_norm_epsilon: float
    gated: bool
    activation: str
    tie_word_embeddings: bool | None
    scale_decoder_outputs: bool | None
    transformers_major: int

    @property
    def inner(self) -> int:
        """The width of all heads together: flan-t5-small's is 384 at a d_model of 512."""
        return self.num_heads * self.d_kv

    @property
    def slot_kinds(self) -> tuple[str, ...]:
        """The kinds of linear layers that can be slots in this family."""
        return (*ATTENTION_SLOTS, *(("wi_0", "wi_1") if self.gated else ("wi",)), "wo")

    def reach(self, stack: str) -> Reach:
        """How far the relative positions of "encoder" or "decoder" go."""
        return reach(
            bidirectional=stack == "encoder",
            buckets=self.relative_attention_num_buckets,
            max_distance=self.relative_attention_max_distance,
        )


def read_t5_config(fields: Mapping[str, Any], path: Path) -> T5Config:
    """config.json's fields, checked; what cannot be exported is refused by name. path: for the messages."""
    model_type = str(fields.get("model_type"))
    if isinstance(quantized := fields.get("quantization_config"), dict):
        method = quantized.get("quant_method", "a library")
        raise CheckpointError(
            f"{path}: weights that were quantized by {method!s:.40} (quantization_config) are not supported; export "
            "the checkpoint that they were made from (with --precision int8, for example)"
        )
    gated, activation = _feed_forward(fields, path, "relu" if model_type == "t5" else "gated-gelu")
    epsilon = fields.get("layer_norm_epsilon", 1e-6)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise CheckpointError(f"{path}: layer_norm_epsilon must be a small positive number, got {epsilon!r}")
    d_kv = whole(fields, "d_kv", path)
    if d_kv % 8:
        raise CheckpointError(f"{path}: d_kv is {d_kv}; onnxruntime's attention wants a multiple of 8")
    layers = whole(fields, "num_layers", path)
    version = re.match(r"\d+", str(fields.get("transformers_version")))
    account_for_others(fields, path)
    return T5Config(
        model_type=model_type,
        vocab_size=whole(fields, "vocab_size", path),
        d_model=whole(fields, "d_model", path),
        d_kv=d_kv,
        d_ff=whole(fields, "d_ff", path),
        num_heads=whole(fields, "num_heads", path),
        num_layers=layers,
        num_decoder_layers=whole(fields, "num_decoder_layers", path, layers),
        # fewer, and transformers divides by the number of exact buckets, which is 0
        relative_attention_num_buckets=whole(
            fields, "relative_attention_num_buckets", path, 32, least=least_buckets(bidirectional=True)
        ),
        relative_attention_max_distance=whole(fields, "relative_attention_max_distance", path, 128),
        layer_norm_epsilon=epsilon,
        gated=gated,
        activation=activation,
        tie_word_embeddings=flag(fields, "tie_word_embeddings", path),
        scale_decoder_outputs=flag(fields, "scale_decoder_outputs", path),
        transformers_major=int(version[0]) if version else 0,
    )


def _feed_forward(fields: Mapping[str, Any], path: Path, default: str) -> tuple[bool, str]:
    """(gated, activation): feed_forward_proj says both, and dense_act_fn and is_gated_act go before it."""
    kind = fields.get("feed_forward_proj")
    kind = default if kind is None else kind
    parts = kind.split("-") if isinstance(kind, str) else []
    if len(parts) not in (1, 2) or (len(parts) == 2 and parts[0] != "gated"):
        raise CheckpointError(
            f"{path}: feed_forward_proj {kind!r:.80} is not supported, only ACTIVATION and gated-ACTIVATION"
        )
    activation = "gelu_new" if kind == "gated-gelu" else parts[-1]
    key = "feed_forward_proj"
    if fields.get("dense_act_fn") is not None:
        key, activation = "dense_act_fn", fields["dense_act_fn"]
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise CheckpointError(
            f"{path}: the activation {activation!r:.80} of {key} is not supported, only {', '.join(ACTIVATIONS)}"
        )
    gated = flag(fields, "is_gated_act", path, parts[0] == "gated")
    assert gated is not None
    return gated, activation
