"""A GGUF file's metadata as Hugging Face's config.json has it, with transformers 4's spelling of rope_theta."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning

from .header import Place
from .known_architectures import ARCHITECTURES, HEAD, SUPPORTED, Architecture
from .metadata import Metadata
from .rope import rope_scaling

# Keys that say nothing of what a model computes.
_HARMLESS = ("rope.scaling.original_context_length", "rope.scaling.finetuned", "tensor_data_layout")
# The layers of the two models whose attention is not scaled by a head's size; llama.cpp knows them by this as well.
_GEMMA2_27B, _GEMMA3_27B = 46, 62
_GEMMA2_WINDOW = 4096
_GEMMA3_LOCAL_THETA = 10_000.0


def architecture_of(metadata: Metadata) -> Architecture:
    """The file's architecture; others than decoders of one of the supported ones are refused by name."""
    path = metadata.path
    kind = metadata.text("general.type", "model")
    if kind != "model":
        raise CheckpointError(f"{path}: a GGUF file of type {kind!r:.80}, not a model")
    if (parts := metadata.whole("split.count", 1, least=0)) > 1:
        raise CheckpointError(f"{path}: one of {parts} parts of a model; join them with llama-gguf-split --merge")
    name = metadata.text("general.architecture")
    if name not in ARCHITECTURES:
        raise CheckpointError(f"{path}: the architecture {name!r:.80} is not supported, only {SUPPORTED}")
    return ARCHITECTURES[name]


def read_config(metadata: Metadata, architecture: Architecture, tensors: Mapping[str, Place]) -> dict[str, Any]:
    """The fields of config.json that a model of this architecture has, without token ids.

    rope_freqs are not looked at. Raises CheckpointError for what is missing, wrong or not supported, and warns of keys
    that are not known.
    """
    prefix = f"{metadata.text('general.architecture')}."
    _refuse(metadata, prefix)
    layers = metadata.whole(f"{prefix}block_count")
    if layers > len(tensors):
        raise CheckpointError(f"{metadata.path}: {prefix}block_count is {layers}, but there are {len(tensors)} tensors")
    heads = metadata.same_in_all_layers(f"{prefix}attention.head_count", layers)
    kv_heads = metadata.same_in_all_layers(f"{prefix}attention.head_count_kv", layers, heads)
    hidden = metadata.whole(f"{prefix}embedding_length")
    config = {
        "architectures": [architecture.class_name],
        "model_type": architecture.model_type,
        "vocab_size": _vocab_size(metadata, prefix, tensors),
        "hidden_size": hidden,
        "intermediate_size": metadata.same_in_all_layers(f"{prefix}feed_forward_length", layers),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": _head_dim(metadata, prefix, hidden, heads, kv_heads),
        "max_position_embeddings": metadata.whole(f"{prefix}context_length"),
        "rms_norm_eps": metadata.positive(f"{prefix}attention.layer_norm_rms_epsilon"),
        "rope_theta": metadata.positive(f"{prefix}rope.freq_base", 10_000.0),
        "rope_scaling": rope_scaling(metadata, prefix),
        "tie_word_embeddings": HEAD not in tensors,
        "torch_dtype": "float32",
    }
    if frozenset() in architecture.biases:  # qwen2 always has them, and no word of it in its config.json
        config["attention_bias"] = "blk.0.attn_q.bias" in tensors
    if any("ffn_up" in those for those in architecture.biases):
        config["mlp_bias"] = "blk.0.ffn_up.bias" in tensors
    config |= _of_family(metadata, prefix, architecture, config)
    for key in _HARMLESS:
        _ = prefix + key in metadata
    if unknown := metadata.not_asked(prefix):
        warnings.warn(
            f"{metadata.path}: {', '.join(unknown)!s:.200} in its metadata is not known and was left out; if it "
            "changes what the model computes, answers are wrong",
            EdgeLorahubWarning,
            stacklevel=3,
        )
    return config


def _refuse(metadata: Metadata, prefix: str) -> None:
    """What some files of these architectures have, and that changes what a model computes."""
    usual: dict[str, Any] = {
        "expert_count": 0,
        "expert_used_count": 0,
        "attention.causal": True,
        "pooling_type": 0,
        "rope.scaling.attn_factor": 1,
        "rope.scaling.alpha": 0,
        "use_parallel_residual": False,
        "attention.max_alibi_bias": 0,
        "attention.clamp_kqv": 0,
    }
    if prefix == "granite.":
        # llama.cpp leaves the rotary embedding out where it is false
        usual["rope.scaling.finetuned"] = True
    for name, value in usual.items():
        key = prefix + name
        found = metadata.flag(key, value) if isinstance(value, bool) else metadata.number(key, value)
        if found != value:
            raise CheckpointError(f"{metadata.path}: a model with {key} = {found} is not supported")


def _vocab_size(metadata: Metadata, prefix: str, tensors: Mapping[str, Place]) -> int:
    """The rows of the embedding, which the metadata must agree with where it says how many."""
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(f"{metadata.path}: no token_embd.weight with rows; download or convert the model again")
    said = metadata.whole(f"{prefix}vocab_size", embedding.shape[0])
    if said != embedding.shape[0]:
        raise CheckpointError(
            f"{metadata.path}: {prefix}vocab_size is {said}, but token_embd.weight has {embedding.shape[0]} rows"
        )
    return embedding.shape[0]


def _head_dim(metadata: Metadata, prefix: str, hidden: int, heads: int, kv_heads: int) -> int:
    """A head's size, of keys and values and of the rotary embedding."""
    size = metadata.whole(f"{prefix}attention.key_length", hidden // heads or None)
    values = metadata.whole(f"{prefix}attention.value_length", hidden // heads or None)
    rotated = metadata.whole(f"{prefix}rope.dimension_count", size)
    if not size == values == rotated:
        raise CheckpointError(
            f"{metadata.path}: heads of {size} for keys, {values} for values and {rotated} for the rotary embedding "
            "are not supported, only equal ones"
        )
    if size % 2 or heads % kv_heads:
        raise CheckpointError(f"{metadata.path}: {heads} heads of {size}, {kv_heads} of them for keys, do not fit")
    return size


def _of_family(
    metadata: Metadata, prefix: str, architecture: Architecture, config: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields that other architectures do not have."""
    kind = architecture.model_type
    if kind.startswith("gemma"):
        own: dict[str, Any] = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}
        return own | (_of_gemma(metadata, prefix, kind, config) if kind != "gemma" else {})
    own = {"hidden_act": "silu"}
    if kind in ("qwen2", "qwen3"):
        own |= {"use_sliding_window": False}
    if kind == "granite":
        scale = metadata.positive(f"{prefix}attention.scale", 1 / math.sqrt(config["head_dim"]))
        own |= {
            "attention_multiplier": scale,
            "embedding_multiplier": metadata.positive(f"{prefix}embedding_scale", 1.0),
            "residual_multiplier": metadata.positive(f"{prefix}residual_scale", 1.0),
            "logits_scaling": metadata.positive(f"{prefix}logit_scale"),
        }
    return own


def _of_gemma(metadata: Metadata, prefix: str, kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Windows, soft caps and scales of Gemma 2 and 3."""
    second = kind == "gemma2"
    layers, large = config["num_hidden_layers"], _GEMMA2_27B if second else _GEMMA3_27B
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    window = metadata.whole(f"{prefix}attention.sliding_window", _GEMMA2_WINDOW if second else 0, least=0)
    pattern = metadata.whole(f"{prefix}attention.sliding_window_pattern", 2 if second else 6)
    cap = metadata.number(f"{prefix}final_logit_softcapping", 0.0) or None
    own: dict[str, Any] = {
        "query_pre_attn_scalar": hidden // heads if layers == large else config["head_dim"],
        "sliding_window": window or None,
        "layer_types": [
            "sliding_attention" if window and (layer + 1) % pattern else "full_attention" for layer in range(layers)
        ],
        "attn_logit_softcapping": metadata.number(f"{prefix}attn_logit_softcapping", 0.0) or None,
        "final_logit_softcapping": cap,
    }
    theta = metadata.positive(f"{prefix}rope.freq_base_swa", config["rope_theta"] if second else _GEMMA3_LOCAL_THETA)
    if not second:
        return own | {"sliding_window_pattern": pattern, "rope_local_base_freq": theta}
    if theta != config["rope_theta"] or config["rope_scaling"]:
        raise CheckpointError(f"{metadata.path}: gemma2 with a rotary embedding by layers or scaled is not supported")
    if window == 0:
        raise CheckpointError(f"{metadata.path}: gemma2 without a sliding window is not supported")
    return own
