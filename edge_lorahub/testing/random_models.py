"""Checkpoints and LoRA modules of the exact dimensions of published models, with seeded random weights.

They are ordinary Hugging Face and PEFT folders, made without torch: for latency and memory, and for parity
with other programs, random weights serve as well as trained ones.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from edge_lorahub.tensors.safetensors_file import Float32

_SHARD_BYTES = 1 << 30
_T5_11 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "model_type": "t5"}
_T5_10 = {"feed_forward_proj": "relu", "tie_word_embeddings": True, "model_type": "t5"}
_MT5 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "model_type": "mt5"}


def _dimensions(d_model: int, d_ff: int, d_kv: int, heads: int, layers: int, vocabulary: int) -> dict[str, int]:
    return {
        "d_model": d_model, "d_ff": d_ff, "d_kv": d_kv, "num_heads": heads, "num_layers": layers,
        "num_decoder_layers": layers, "vocab_size": vocabulary,
    }  # fmt: skip


SIZES: dict[str, dict[str, Any]] = {
    "tiny": _T5_11 | _dimensions(32, 48, 8, 3, 2, 128),
    "tiny-t5": _T5_10 | _dimensions(32, 48, 8, 3, 2, 128),
    "tiny-mt5": _MT5 | _dimensions(32, 48, 8, 3, 2, 128),
    "t5-small": _T5_10 | _dimensions(512, 2048, 64, 8, 6, 32128),
    "flan-t5-small": _T5_11 | _dimensions(512, 1024, 64, 6, 8, 32128),
    "flan-t5-base": _T5_11 | _dimensions(768, 2048, 64, 12, 12, 32128),
    "flan-t5-large": _T5_11 | _dimensions(1024, 2816, 64, 16, 24, 32128),
}


def config(size: str) -> dict[str, Any]:
    """The config.json of a size of SIZES."""
    return SIZES[size] | {
        "architectures": ["T5ForConditionalGeneration"],
        "_name_or_path": size,
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "is_encoder_decoder": True,
        "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
    }


def linear_layers(size: str) -> Iterator[tuple[str, int, int]]:
    """(name, d_in, d_out) of every linear layer but the head."""
    c = SIZES[size]
    d, inner, ff = c["d_model"], c["num_heads"] * c["d_kv"], c["d_ff"]
    inputs = ("wi_0", "wi_1") if c["feed_forward_proj"].startswith("gated") else ("wi",)
    for stack, kinds in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        for block in range(c["num_layers"]):
            for layer, kind in enumerate(kinds):
                for part in "qkv":
                    yield f"{stack}.block.{block}.layer.{layer}.{kind}.{part}", d, inner
                yield f"{stack}.block.{block}.layer.{layer}.{kind}.o", inner, d
            dense = f"{stack}.block.{block}.layer.{len(kinds)}.DenseReluDense"
            for part in inputs:
                yield f"{dense}.{part}", d, ff
            yield f"{dense}.wo", ff, d


def _tensors(size: str, seed: int) -> Iterator[tuple[str, Float32]]:
    """Every tensor of a checkpoint, in the standard deviations of T5's own initialization."""
    c = SIZES[size]
    d, heads = c["d_model"], c["num_heads"]

    def normal(name: str, std: float, *shape: int) -> tuple[str, Float32]:
        # a stream for each tensor: what one holds does not depend on the order of the others
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        array: Float32 = rng.standard_normal(shape, dtype=np.float32)
        array *= np.float32(std)
        return name, array

    yield normal("shared.weight", 1.0, c["vocab_size"], d)
    if not c["tie_word_embeddings"]:
        yield normal("lm_head.weight", 1.0, c["vocab_size"], d)
    for name, d_in, d_out in linear_layers(size):
        std = (d_in * c["d_kv"]) ** -0.5 if name.endswith(".q") else d_in**-0.5
        yield normal(f"{name}.weight", std, d_out, d_in)
    for stack, norms in (("encoder", 2), ("decoder", 3)):
        bias = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        yield normal(bias, 0.5, 32, heads)
        names = [f"{stack}.block.{b}.layer.{n}" for b in range(c["num_layers"]) for n in range(norms)]
        for name in [*(f"{n}.layer_norm.weight" for n in names), f"{stack}.final_layer_norm.weight"]:
            name, array = normal(name, 0.1, d)
            yield name, array + 1


def write_checkpoint(folder: Path, size: str, *, seed: int = 0, tokenizer: Path | None = None) -> Path:
    """Writes a checkpoint of a size of SIZES; past 1 GB it is sharded, with an index, as on the Hub.

    tokenizer is a folder whose tokenizer files are copied; without one, a word-level tokenizer of words
    w3, w4, ... is made, so that a text of n words has n + 1 tokens.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[list[str]] = []
    pending: dict[str, Float32] = {}

    def flush() -> None:
        save_file(pending, folder / f"part-{len(shards)}", metadata={"format": "pt"})
        shards.append(list(pending))
        pending.clear()

    for name, array in _tensors(size, seed):
        if pending and sum(a.nbytes for a in pending.values()) + array.nbytes > _SHARD_BYTES:
            flush()
        pending[name] = array
    flush()
    if len(shards) == 1:
        (folder / "part-0").replace(folder / "model.safetensors")
    else:
        files = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
        for index, file in enumerate(files):
            (folder / f"part-{index}").replace(folder / file)
        weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8"
        )
    if tokenizer is None:
        word_tokenizer(SIZES[size]["vocab_size"]).save(str(folder / "tokenizer.json"))
        # as T5's own class, transformers would add 100 tokens that the model does not have
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "attention_mask"],
            "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
        }  # fmt: skip
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    else:
        for source in tokenizer.iterdir():
            (folder / source.name).write_bytes(source.read_bytes())
    # last: a folder that has it is complete
    (folder / "config.json").write_text(json.dumps(config(size), indent=1), encoding="utf-8")
    return folder


def word_tokenizer(vocabulary: int) -> Tokenizer:
    """A word-level tokenizer with T5's special tokens and the words w3 to w{vocabulary - 1}."""
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<pad>", "</s>", "<unk>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def write_module(
    folder: Path,
    size: str,
    *,
    seed: int,
    rank: int = 16,
    alpha: float = 32,
    kinds: tuple[str, ...] = ("q", "v"),
    std: float = 0.02,
    **fields: Any,
) -> Path:
    """Writes a LoRA module for a checkpoint of a size of SIZES, as peft saves one.

    std is that of B (peft starts B at zero; a trained one is small); fields go into adapter_config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tensors: dict[str, Float32] = {}
    for name, d_in, d_out in linear_layers(size):
        if name.rpartition(".")[2] in kinds:
            key = f"base_model.model.{name}"
            a: Float32 = rng.standard_normal((rank, d_in), dtype=np.float32)
            b: Float32 = rng.standard_normal((d_out, rank), dtype=np.float32)
            tensors[f"{key}.lora_A.weight"] = a * np.float32(d_in**-0.5)
            tensors[f"{key}.lora_B.weight"] = b * np.float32(std)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA", "task_type": "SEQ_2_SEQ_LM", "base_model_name_or_path": size, "r": rank,
        "lora_alpha": alpha, "lora_dropout": 0.0, "target_modules": list(kinds), "bias": "none",
        "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "modules_to_save": None,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings | fields, indent=1), encoding="utf-8")
    return folder
