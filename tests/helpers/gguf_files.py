"""Small GGUF files, written with the package gguf: a model of any architecture, and vocabularies of both kinds.

Modules of tests that import this one are skipped where the package is not installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

gguf = pytest.importorskip("gguf")

Array = np.ndarray[Any, np.dtype[Any]]
SPACE = "\u2581"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CORPUS = [
    "The quick brown fox jumps over the lazy dog; it doesn't look back, and we've seen it.",
    "Translate the sentence into German: That is good. Das ist gut, sagt sie.",
    "def f(x):\n    return x + 12345  # a comment\n\n\tif x == 0:\r\n\t\tpass",
    "1, 22, 333, 4444 and 55555; 3.14159, 2,718 and 1/2",
    "Ein Mädchen aß Äpfel; élève naïve, ÉCOLE, Straße; русский текст и 日本語のテキスト 中文",
    "----- ===== ..... !!!!! aaaaaa baab abab ababab   spaces    of  many     kinds",
    "emoji 🙂🙂 👩‍👩‍👧 and marks é à, العربية हिन्दी ไทย",
]
# A model of two layers whose heads are grouped.
SIZES = {"layers": 2, "hidden": 32, "heads": 4, "kv_heads": 2, "head_dim": 8, "ff": 64}


def byte_pairs(size: int = 400, patterns: tuple[str, ...] = (), ignore_merges: bool = False) -> Tokenizer:
    """A byte-level tokenizer that was trained on the corpus, with three special tokens."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not patterns)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def byte_pair_fields(tokenizer: Tokenizer, pre: str | None = "gpt-2") -> dict[str, Any]:
    """The metadata of a byte-level tokenizer."""
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(vocab, key=lambda token: vocab[token])
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    fields: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array([3 if token in SPECIAL else 1 for token in tokens], np.int32),
        "tokenizer.ggml.merges": [merge if isinstance(merge, str) else " ".join(merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }
    return fields | {"tokenizer.ggml.pre": pre}


def piece_tokenizer(size: int = 700) -> tuple[Tokenizer, dict[str, Any]]:
    """A vocabulary of pieces with scores that was trained on the corpus, as a tokenizer and as metadata.

    The tokenizer has what training gave: a list of merges, of which each makes one token.
    """
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, max_token_length=12)
    tokenizer.train_from_iterator([SPACE + text.replace(" ", SPACE) for text in CORPUS], trainer)
    state = json.loads(tokenizer.to_str())["model"]
    vocab: dict[str, int] = state["vocab"]
    tokens = sorted(vocab, key=lambda token: vocab[token])
    kinds = [{0: 2, 1: 3, 2: 3}.get(index, 6 if index < len(special) else 1) for index in range(len(tokens))]
    scores = [0.0 if index < len(special) else -float(index) for index in range(len(tokens))]
    return tokenizer, {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": np.array(scores, np.float32),
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": None,
        "tokenizer.ggml.merges": None,
    }


def model_fields(architecture: str = "llama") -> dict[str, Any]:
    """The metadata of a small model, without a tokenizer."""
    fields = {
        "block_count": SIZES["layers"],
        "context_length": 128,
        "embedding_length": SIZES["hidden"],
        "feed_forward_length": SIZES["ff"],
        "attention.head_count": SIZES["heads"],
        "attention.head_count_kv": SIZES["kv_heads"],
        "attention.key_length": SIZES["head_dim"],
        "attention.value_length": SIZES["head_dim"],
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10000.0,
    }
    own: dict[str, Any] = {
        "granite": {"logit_scale": 2.0, "attention.scale": 0.25, "embedding_scale": 3.0, "residual_scale": 0.5},
        "gemma2": {
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "attention.sliding_window": 4,
        },
        "gemma3": {"attention.sliding_window": 4},
    }.get(architecture, {})
    return {f"{architecture}.{key}": value for key, value in (fields | own).items()}


def model_tensors(architecture: str = "llama", vocab_size: int = 400, seed: int = 0) -> dict[str, Array]:
    """Random tensors of a small model by GGUF's names, float32."""
    generator = np.random.default_rng(seed)
    hidden, ff, q = SIZES["hidden"], SIZES["ff"], SIZES["heads"] * SIZES["head_dim"]
    k = SIZES["kv_heads"] * SIZES["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocab_size, hidden), "output_norm.weight": (hidden,)}
    for layer in range(SIZES["layers"]):
        own: dict[str, tuple[int, ...]] = {
            "attn_norm.weight": (hidden,),
            "ffn_norm.weight": (hidden,),
            "attn_q.weight": (q, hidden),
            "attn_k.weight": (k, hidden),
            "attn_v.weight": (k, hidden),
            "attn_output.weight": (hidden, q),
            "ffn_gate.weight": (ff, hidden),
            "ffn_up.weight": (ff, hidden),
            "ffn_down.weight": (hidden, ff),
        }
        if architecture == "qwen2":
            own |= {"attn_q.bias": (q,), "attn_k.bias": (k,), "attn_v.bias": (k,)}
        if architecture in ("qwen3", "gemma3"):
            own |= {"attn_q_norm.weight": (SIZES["head_dim"],), "attn_k_norm.weight": (SIZES["head_dim"],)}
        if architecture in ("gemma2", "gemma3"):
            own |= {"post_attention_norm.weight": (hidden,), "post_ffw_norm.weight": (hidden,)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in own.items()}
    return {
        name: (generator.normal(0, 0.1, shape) + name.endswith("norm.weight")).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_gguf(
    path: Path,
    fields: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Array] | None = None,
    architecture: str = "llama",
    quantization: Callable[[str, Array], Any] = lambda name, array: None,
) -> Path:
    """Writes a file; fields replace or add to those of a small model with a byte-level tokenizer (None: left out).

    quantization gives a tensor's gguf.GGMLQuantizationType, or None for float32.
    """
    vocabulary = byte_pair_fields(byte_pairs())
    merged = {**model_fields(architecture), **vocabulary, **(fields or {})}
    found = model_tensors(architecture, len(merged["tokenizer.ggml.tokens"] or [])) if tensors is None else tensors
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in merged.items():
        if value is not None and key != "general.architecture":
            add_field(writer, key, value)
    for name, array in found.items():
        kind = quantization(name, array)
        if kind is None:
            writer.add_tensor(name, array)
        else:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_field(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value.tolist() if isinstance(value, np.ndarray) else value)
