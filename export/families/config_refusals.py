"""Models that are refused whatever their family is called: by what config.json says that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError

# What a field gives away where it is there and says more than "none of it".
_SIGNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "a wrapper around a language model and other encoders (multimodal); export the checkpoint of its text model",
        ("text_config", "vision_config", "audio_config", "speech_config", "llm_config", "thinker_config"),
    ),
    (
        "a mixture of experts",
        (
            "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok",
            "num_experts_per_token", "moe_intermediate_size", "moe_layer_freq",
        ),
    ),
    (
        "a hybrid of attention and recurrent or convolutional layers",
        (
            "ssm_cfg", "state_size", "mamba_d_state", "mamba_d_conv", "mamba_expand", "mamba_n_heads", "conv_L_cache",
            "lru_width", "linear_num_key_heads", "linear_conv_kernel_dim", "attn_layer_period", "block_types",
            "hybrid_override_pattern", "full_attn_idxs",
        ),
    ),
)  # fmt: skip
_SAYS_NONE: tuple[Any, ...] = (None, False, 0, {}, [])


def refuse_other_kinds(fields: Mapping[str, Any], path: Path) -> None:
    """Raises CheckpointError for mixtures of experts, hybrids, wrappers, and weights that a library has quantized."""
    model_type = fields.get("model_type")
    for what, keys in _SIGNS:
        for key in keys:
            if key in fields and not any(fields[key] == none for none in _SAYS_NONE):
                raise CheckpointError(f"{path}: model_type {model_type!r:.80} is not supported: {what} ({key})")
    for key in ("quantization_config", "compression_config", "quantization"):
        found = fields.get(key)
        if isinstance(found, dict):
            method = found.get("quant_method", "a library")
            raise CheckpointError(
                f"{path}: weights that were quantized by {method!s:.40} ({key}) are not supported; export the "
                "checkpoint that they were made from (with --precision int8, for example)"
            )


def refuse_other_heads(fields: Mapping[str, Any], path: Path, known: Sequence[str]) -> None:
    """Raises CheckpointError where `architectures` names another model than a language model of the family."""
    found = fields.get("architectures")
    names = [str(name) for name in found] if isinstance(found, list) else []
    if names and not any(name in known for name in names):
        raise CheckpointError(f"{path}: {names[0]:.80} (architectures) is not supported, only {' and '.join(known)}")
    if fields.get("is_encoder_decoder"):
        raise CheckpointError(f"{path}: is_encoder_decoder is not supported with {fields.get('model_type')!r:.80}")


def unknown_family(fields: Mapping[str, Any], path: Path, known: Sequence[str]) -> CheckpointError:
    """The error for a model_type of no family."""
    model_type = fields.get("model_type")
    what = "is missing" if model_type is None else f"{model_type!r:.80} is not supported"
    return CheckpointError(f"{path}: model_type {what}; edge-lorahub exports {', '.join(known)}")
