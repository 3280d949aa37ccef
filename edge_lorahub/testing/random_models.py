"""Checkpoints and LoRA modules of the exact dimensions of published models, with seeded random weights.

They are ordinary Hugging Face and PEFT folders, made without torch: for latency and memory, and for parity
with other programs, random weights serve as well as trained ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from edge_lorahub.tensors.safetensors_file import Float32

from .decoder_sizes import DECODER_KINDS, DECODER_SIZES, decoder_config, decoder_linear_layers, decoder_tensors
from .random_tensor import RandomTensor
from .t5_sizes import T5_KINDS, T5_SIZES, t5_config, t5_linear_layers, t5_tensors

_SHARD_BYTES = 1 << 30

# What config.json says of a published model's dimensions, by name.
SIZES: dict[str, dict[str, Any]] = T5_SIZES | DECODER_SIZES


def is_decoder_only(size: str) -> bool:
    """Whether a size of SIZES is of a decoder-only model; the others are T5's relatives."""
    return "hidden_size" in SIZES[size]


def config(size: str) -> dict[str, Any]:
    """The config.json of a size of SIZES."""
    fields = decoder_config(SIZES[size]) if is_decoder_only(size) else t5_config(SIZES[size])
    return fields | {"_name_or_path": size}


def linear_layers(size: str) -> Iterator[tuple[str, int, int]]:
    """(name, d_in, d_out) of every linear layer but the head."""
    return decoder_linear_layers(SIZES[size]) if is_decoder_only(size) else t5_linear_layers(SIZES[size])


def usual_kinds(size: str) -> tuple[str, ...]:
    """The kinds of linear layers that most modules of such a model adapt."""
    return DECODER_KINDS if is_decoder_only(size) else T5_KINDS


def _tensors(size: str) -> Iterator[RandomTensor]:
    return decoder_tensors(SIZES[size]) if is_decoder_only(size) else t5_tensors(SIZES[size])


def write_checkpoint(folder: Path, size: str, *, seed: int = 0, tokenizer: Path | None = None) -> Path:
    """Writes a checkpoint of a size of SIZES; past 1 GB it is sharded, with an index, as on the Hub.

    tokenizer is a folder whose tokenizer files are copied; without one, a word-level tokenizer of words
    w3, w4, ... is made, so that a text of n words has n tokens, and in T5 the end token after them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[list[str]] = []
    pending: dict[str, Float32] = {}

    def flush() -> None:
        save_file(pending, folder / f"part-{len(shards)}", metadata={"format": "pt"})
        shards.append(list(pending))
        pending.clear()

    for tensor in _tensors(size):
        name, array = tensor.name, tensor.make(seed)
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
        word_tokenizer(SIZES[size]["vocab_size"], ends_texts=not is_decoder_only(size)).save(
            str(folder / "tokenizer.json")
        )
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


def word_tokenizer(vocabulary: int, *, ends_texts: bool = True) -> Tokenizer:
    """A word-level tokenizer with T5's special tokens and the words w3 to w{vocabulary - 1}.

    ends_texts: an end token goes after every text, as in T5.
    """
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<pad>", "</s>", "<unk>")])
    if ends_texts:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def write_module(
    folder: Path,
    size: str,
    *,
    seed: int,
    rank: int = 16,
    alpha: float = 32,
    kinds: tuple[str, ...] | None = None,
    std: float = 0.02,
    **fields: Any,
) -> Path:
    """Writes a LoRA module for a checkpoint of a size of SIZES, as peft saves one.

    kinds: of the linear layers that it adapts; None: `usual_kinds`. std is that of B (peft starts B at zero; a trained
    one is small); fields go into adapter_config.json.
    """
    kinds = usual_kinds(size) if kinds is None else kinds
    task_type = "CAUSAL_LM" if is_decoder_only(size) else "SEQ_2_SEQ_LM"
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
        "peft_type": "LORA", "task_type": task_type, "base_model_name_or_path": size, "r": rank,
        "lora_alpha": alpha, "lora_dropout": 0.0, "target_modules": list(kinds), "bias": "none",
        "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True, "modules_to_save": None,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings | fields, indent=1), encoding="utf-8")
    return folder
