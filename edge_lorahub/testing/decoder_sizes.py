"""Decoder-only checkpoints: published dimensions, names and shapes of their tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .random_tensor import RandomTensor

_LLAMA = {"model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "tie_word_embeddings": True}
_QWEN2 = {
    "model_type": "qwen2", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": True,
    "use_sliding_window": False,
}  # fmt: skip
_GEMMA3 = {
    "model_type": "gemma3_text", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
    "tie_word_embeddings": True,
}  # fmt: skip


def _dimensions(
    width: int, inner: int, heads: int, kv_heads: int, head_size: int, layers: int, vocabulary: int, positions: int
) -> dict[str, int]:
    return {
        "hidden_size": width, "intermediate_size": inner, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": head_size, "num_hidden_layers": layers, "vocab_size": vocabulary,
        "max_position_embeddings": positions,
    }  # fmt: skip


def _layer_types(layers: int, every: int) -> list[str]:
    """Attention to all tokens in the layers `every`, 2 `every`, ..., and in windows in the others."""
    return ["sliding_attention" if layer % every else "full_attention" for layer in range(1, layers + 1)]


# Of HuggingFaceTB/SmolLM2-135M, Qwen/Qwen2.5-0.5B and google/gemma-3-270m; the tiny ones are of nobody.
DECODER_SIZES: dict[str, dict[str, Any]] = {
    "tiny-llama": _LLAMA | _dimensions(48, 80, 4, 2, 16, 3, 128, 512),
    "tiny-qwen2": _QWEN2 | _dimensions(48, 80, 4, 2, 16, 3, 128, 512),
    "tiny-gemma3": _GEMMA3
    | _dimensions(48, 80, 4, 1, 32, 3, 128, 512)
    | {"query_pre_attn_scalar": 32, "sliding_window": 16, "layer_types": _layer_types(3, 2)},
    "smollm2-135m": _LLAMA | _dimensions(576, 1536, 9, 3, 64, 30, 49152, 8192),
    "qwen2.5-0.5b": _QWEN2 | _dimensions(896, 4864, 14, 2, 64, 24, 151936, 32768),
    "gemma-3-270m": _GEMMA3
    | _dimensions(640, 2048, 4, 1, 256, 18, 262144, 32768)
    | {"query_pre_attn_scalar": 256, "sliding_window": 512, "layer_types": _layer_types(18, 6)},
}
# What modules of such models adapt where they are told of nothing else, as peft does.
DECODER_KINDS = ("q_proj", "v_proj")
_CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM"}


def decoder_config(size: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a size, without its name."""
    return {
        **size, "architectures": [_CLASSES[size["model_type"]]], "bos_token_id": None, "eos_token_id": 1,
        "pad_token_id": 0,
    }  # fmt: skip


def decoder_linear_layers(size: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """(name, d_in, d_out) of every linear layer but the head, layer by layer."""
    width, inner = size["hidden_size"], size["intermediate_size"]
    queries, keys = (size[name] * size["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    for layer in range(size["num_hidden_layers"]):
        attention, feed_forward = (f"model.layers.{layer}.{block}" for block in ("self_attn", "mlp"))
        yield f"{attention}.q_proj", width, queries
        yield f"{attention}.k_proj", width, keys
        yield f"{attention}.v_proj", width, keys
        yield f"{attention}.o_proj", queries, width
        yield f"{feed_forward}.gate_proj", width, inner
        yield f"{feed_forward}.up_proj", width, inner
        yield f"{feed_forward}.down_proj", inner, width


def decoder_tensors(size: Mapping[str, Any]) -> Iterator[RandomTensor]:
    """Every tensor of a checkpoint; the head is the embedding. Layers keep the size of what they read."""
    family, width = size["model_type"], size["hidden_size"]
    # Gemma multiplies the embedding by the root of its width, and stores norms less 1
    gemma = family == "gemma3_text"
    yield RandomTensor("model.embed_tokens.weight", (size["vocab_size"], width), width**-0.5 if gemma else 1.0)
    for name, d_in, d_out in decoder_linear_layers(size):
        yield RandomTensor(f"{name}.weight", (d_out, d_in), d_in**-0.5)
        if family == "qwen2" and name.endswith(("q_proj", "k_proj", "v_proj")):
            yield RandomTensor(f"{name}.bias", (d_out,), 0.1)
    norms = [("input_layernorm", width), ("post_attention_layernorm", width)]
    if gemma:
        norms += [("pre_feedforward_layernorm", width), ("post_feedforward_layernorm", width)]
        norms += [(f"self_attn.{part}_norm", size["head_dim"]) for part in "qk"]
    paths = [(f"model.layers.{n}.{name}", d) for n in range(size["num_hidden_layers"]) for name, d in norms]
    for name, d in [*paths, ("model.norm", width)]:
        yield RandomTensor(f"{name}.weight", (d,), 0.1, mean=0.0 if gemma else 1.0)
