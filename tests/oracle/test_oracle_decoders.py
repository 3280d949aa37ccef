"""Every decoder-only family against transformers + peft, with LoRA in all seven kinds of linear layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from decoder_oracle import difference, oracle_greedy, oracle_logits, oracle_model, with_lora, without_lora
from decoders import (
    KINDS,
    TINY,
    export_decoder,
    no_lora,
    random_lora,
    random_texts,
    skip_if_too_old,
    write_checkpoint,
)

pytestmark = pytest.mark.oracle
TOLERANCE = 1e-5
# A LoRA that moves the logits by less than this, relative to the largest, would test nothing.
VISIBLE = 0.02
# A minute or two each on two cores, and up to 6 GB of memory.
LARGE = os.environ.get("EDGE_LORAHUB_LARGE_DECODERS")


def compare(checkpoint: Path, graphs: Path, *, new_tokens: int, rank: int = 4, size: float = 0.2) -> None:
    """Logits at the labels and greedy tokens, of the plain model and with LoRA in every slot."""
    exported = export_decoder(checkpoint, graphs)
    assert exported.unused == []
    assert len(exported.slots) == 7 * exported.config.layers
    texts = random_texts(exported.config.vocab_size)
    prompts = [text.ids for text in texts]
    lora = random_lora(exported.slots, rank, size=size)
    model = with_lora(oracle_model(checkpoint), lora, KINDS)
    with without_lora(model) as plain:
        truths = {"plain": (oracle_logits(plain, texts), oracle_greedy(plain, prompts, new_tokens))}
    truths["lora"] = oracle_logits(model, texts), oracle_greedy(model, prompts, new_tokens)
    for form, (logits, tokens) in truths.items():
        inputs = lora if form == "lora" else no_lora(exported.slots)
        found = difference(exported.logits(texts, inputs), logits)
        answers = exported.greedy(inputs, prompts, new_tokens)
        equal = np.mean(np.array(answers) == np.array(tokens))
        kinds = len(np.unique(tokens))
        print(f"[measured] {checkpoint.name}, {form}: logits {found:.1e}, {equal:.1%} of {np.size(tokens)} tokens "
              f"({kinds} different)")  # fmt: skip
        assert found <= TOLERANCE
        assert np.array_equal(answers, tokens)
    assert difference(truths["plain"][0], truths["lora"][0]) > VISIBLE


@pytest.mark.parametrize("family", TINY)
def test_tiny_models(family: str, tmp_path: Path) -> None:
    skip_if_too_old(family)
    compare(write_checkpoint(tmp_path / family, TINY[family]), tmp_path / "graphs", new_tokens=24)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_bfloat16_checkpoints(family: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / family, TINY[family] | {"torch_dtype": "bfloat16"}, bfloat16=True)
    compare(checkpoint, tmp_path / "graphs", new_tokens=8)


def test_a_checkpoint_without_the_heads_prefix(tmp_path: Path) -> None:
    """As `AutoModel.save_pretrained` writes it; the head is the embedding."""
    compare(write_checkpoint(tmp_path / "bare", TINY["qwen2"], prefix=False), tmp_path / "graphs", new_tokens=8)


# Published dimensions: of HuggingFaceTB/SmolLM2-135M, Qwen/Qwen2.5-0.5B and google/gemma-3-270m.
REAL: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": {
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5, "rope_theta": 100000, "tie_word_embeddings": True, "rope_interleaved": False,
        "is_llama_config": True,
    },
    "Qwen2.5-0.5B": {
        "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": True,
        "use_sliding_window": False, "sliding_window": 32768, "max_window_layers": 24,
    },
    "Gemma-3-270M": {
        "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 640, "intermediate_size": 2048,
        "num_hidden_layers": 18, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
        "max_position_embeddings": 32768, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
        "sliding_window": 512, "_sliding_window_pattern": 6, "query_pre_attn_scalar": 256,
    },
}  # fmt: skip


@pytest.mark.skipif(not LARGE, reason="takes minutes: set EDGE_LORAHUB_LARGE_DECODERS=1")
@pytest.mark.parametrize("name", REAL)
def test_published_dimensions(name: str, tmp_path: Path) -> None:
    skip_if_too_old("gemma3" if name.startswith("Gemma") else "llama")
    # With a gain of 1.5 thirty layers amplify rounding so much that transformers in float32 is 1.1e-5 away from itself
    # in float64 (SmolLM2-135M's dimensions; ours then too).
    checkpoint = write_checkpoint(tmp_path / name, REAL[name], gain=1.0)
    compare(checkpoint, tmp_path / "graphs", new_tokens=20, rank=16, size=0.1)
