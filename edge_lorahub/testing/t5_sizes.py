"""T5's checkpoints: published dimensions, names and shapes of their tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .random_tensor import RandomTensor

_T5_11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "model_type": "t5"}
_T5_10 = {"feed_forward_proj": "relu", "tie_word_embeddings": True, "model_type": "t5"}
_MT5 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "model_type": "mt5"}


def _dimensions(d_model: int, d_ff: int, d_kv: int, heads: int, layers: int, vocabulary: int) -> dict[str, int]:
    return {
        "d_model": d_model, "d_ff": d_ff, "d_kv": d_kv, "num_heads": heads, "num_layers": layers,
        "num_decoder_layers": layers, "vocab_size": vocabulary,
    }  # fmt: skip


T5_SIZES: dict[str, dict[str, Any]] = {
    "tiny": _T5_11 | _dimensions(32, 48, 8, 3, 2, 128),
    "tiny-t5": _T5_10 | _dimensions(32, 48, 8, 3, 2, 128),
    "tiny-mt5": _MT5 | _dimensions(32, 48, 8, 3, 2, 128),
    "t5-small": _T5_10 | _dimensions(512, 2048, 64, 8, 6, 32128),
    "flan-t5-small": _T5_11 | _dimensions(512, 1024, 64, 6, 8, 32128),
    "flan-t5-base": _T5_11 | _dimensions(768, 2048, 64, 12, 12, 32128),
    "flan-t5-large": _T5_11 | _dimensions(1024, 2816, 64, 16, 24, 32128),
}
# What modules of such models adapt where they are told of nothing else.
T5_KINDS = ("q", "v")


def t5_config(size: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of a size, without its name."""
    return {
        **size,
        "architectures": ["T5ForConditionalGeneration"],
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "is_encoder_decoder": True,
        "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
    }


def t5_linear_layers(size: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """(name, d_in, d_out) of every linear layer but the head."""
    d, inner, ff = size["d_model"], size["num_heads"] * size["d_kv"], size["d_ff"]
    inputs = ("wi_0", "wi_1") if size["feed_forward_proj"].startswith("gated") else ("wi",)
    for stack, kinds in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        for block in range(size["num_layers"]):
            for layer, kind in enumerate(kinds):
                for part in "qkv":
                    yield f"{stack}.block.{block}.layer.{layer}.{kind}.{part}", d, inner
                yield f"{stack}.block.{block}.layer.{layer}.{kind}.o", inner, d
            dense = f"{stack}.block.{block}.layer.{len(kinds)}.DenseReluDense"
            for part in inputs:
                yield f"{dense}.{part}", d, ff
            yield f"{dense}.wo", ff, d


def t5_tensors(size: Mapping[str, Any]) -> Iterator[RandomTensor]:
    """Every tensor of a checkpoint, in the standard deviations of T5's own initialization."""
    d, heads = size["d_model"], size["num_heads"]
    yield RandomTensor("shared.weight", (size["vocab_size"], d), 1.0)
    if not size["tie_word_embeddings"]:
        yield RandomTensor("lm_head.weight", (size["vocab_size"], d), 1.0)
    for name, d_in, d_out in t5_linear_layers(size):
        std = (d_in * size["d_kv"]) ** -0.5 if name.endswith(".q") else d_in**-0.5
        yield RandomTensor(f"{name}.weight", (d_out, d_in), std)
    for stack, norms in (("encoder", 2), ("decoder", 3)):
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        yield RandomTensor(bias, (32, heads), 0.5)
        names = [f"{stack}.block.{b}.layer.{n}" for b in range(size["num_layers"]) for n in range(norms)]
        for name in [*(f"{n}.layer_norm.weight" for n in names), f"{stack}.final_layer_norm.weight"]:
            yield RandomTensor(name, (d,), 0.1, mean=1.0)
