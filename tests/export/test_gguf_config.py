"""A GGUF file's metadata as config.json: the numbers of each architecture, and what is refused or warned about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_files import gguf, model_tensors, write_gguf

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.export.gguf import open_gguf


def config(path: Path, fields: dict[str, Any] | None = None, architecture: str = "llama") -> dict[str, Any]:
    return open_gguf(write_gguf(path / "m.gguf", fields, architecture=architecture)).config


def test_llama(tmp_path: Path) -> None:
    found = config(tmp_path, {"llama.vocab_size": 400, "llama.rope.dimension_count": 8})
    assert found == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 400,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": [2, 0],
        "pad_token_id": None,
    }


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("qwen2", {"model_type": "qwen2", "use_sliding_window": False}),
        ("qwen3", {"model_type": "qwen3", "head_dim": 8, "attention_bias": False}),
        ("gemma", {"model_type": "gemma", "hidden_act": "gelu_pytorch_tanh"}),
        (
            "gemma2",
            {
                "model_type": "gemma2",
                "attn_logit_softcapping": 50.0,
                "final_logit_softcapping": 30.0,
                "sliding_window": 4,
                "query_pre_attn_scalar": 8,
                "layer_types": ["sliding_attention", "full_attention"],
            },
        ),
        (
            "gemma3",
            {
                "model_type": "gemma3_text",
                "architectures": ["Gemma3ForCausalLM"],
                "sliding_window": 4,
                "sliding_window_pattern": 6,
                "rope_local_base_freq": 10000.0,
                "layer_types": ["sliding_attention", "sliding_attention"],
            },
        ),
        (
            "granite",
            {
                "attention_multiplier": 0.25,
                "embedding_multiplier": 3.0,
                "residual_multiplier": 0.5,
                "logits_scaling": 2.0,
            },
        ),
    ],
)
def test_what_other_architectures_have(architecture: str, expected: dict[str, Any], tmp_path: Path) -> None:
    found = config(tmp_path, architecture=architecture)
    assert {key: found[key] for key in expected} == expected


def test_gemma3_without_windows_and_with_a_pattern(tmp_path: Path) -> None:
    found = config(tmp_path, {"gemma3.attention.sliding_window": None}, "gemma3")
    assert found["layer_types"] == ["full_attention"] * 2
    found = config(tmp_path, {"gemma3.attention.sliding_window_pattern": 2}, "gemma3")
    assert found["layer_types"] == ["sliding_attention", "full_attention"]


def test_defaults_that_metadata_leaves_out(tmp_path: Path) -> None:
    keys = ("attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.freq_base")
    tensors = model_tensors()
    for layer in range(2):
        for part in ("attn_k", "attn_v"):
            tensors[f"blk.{layer}.{part}.weight"] = np.ones((32, 32), np.float32)
    path = write_gguf(tmp_path / "m.gguf", {f"llama.{key}": None for key in keys}, tensors)
    found = open_gguf(path).config
    assert (found["num_key_value_heads"], found["head_dim"], found["rope_theta"]) == (4, 8, 10000.0)


def test_numbers_by_layer(tmp_path: Path) -> None:
    same = {"llama.attention.head_count_kv": np.array([2, 2], np.int32)}
    assert config(tmp_path, same)["num_key_value_heads"] == 2
    with pytest.raises(CheckpointError, match=r"head_count_kv is \[1, 2\]: layers that differ"):
        config(tmp_path, {"llama.attention.head_count_kv": np.array([2, 1], np.int32)})
    with pytest.raises(CheckpointError, match="feed_forward_length has 1 numbers, but there are 2 layers"):
        config(tmp_path, {"llama.feed_forward_length": np.array([64], np.int32)})


@pytest.mark.parametrize(
    "fields",
    [
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 8.0},
        {"llama.rope.scaling.factor": 8.0},
        {"llama.rope.scale_linear": 8.0},
    ],
)
def test_linear_rope_scaling(fields: dict[str, Any], tmp_path: Path) -> None:
    assert config(tmp_path, fields)["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}


@pytest.mark.parametrize("fields", [{"llama.rope.scaling.type": "none"}, {"llama.rope.scaling.factor": 1.0}, {}])
def test_no_rope_scaling(fields: dict[str, Any], tmp_path: Path) -> None:
    assert config(tmp_path, fields)["rope_scaling"] is None


def llama3_factors(theta: float, dim: int, factor: float, low: float, high: float, original: float) -> list[float]:
    """Llama 3.1's published formula, a frequency at a time."""
    factors = []
    for index in range(0, dim, 2):
        wavelength = 2 * np.pi * theta ** (index / dim)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


@pytest.mark.parametrize(("theta", "factor"), [(500000.0, 8.0), (500000.0, 32.0)])
def test_llama3_rope_scaling(theta: float, factor: float, tmp_path: Path) -> None:
    factors = np.array(llama3_factors(theta, 8, factor, 1, 4, 8192), np.float32)
    tensors = model_tensors() | {"rope_freqs.weight": factors}
    path = write_gguf(tmp_path / "m.gguf", {"llama.rope.freq_base": theta}, tensors)
    source = open_gguf(path)
    assert source.config["rope_scaling"] == {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    assert "rope_freqs.weight" not in source.checkpoint


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        (llama3_factors(10000.0, 8, 8, 1, 2, 512), "not those of Llama 3's rope scaling"),
        ([1.0, 2.0, 3.0], "do not fit"),
        ([1.0, 0.0, 1.0, 1.0], "numbers above 0"),
    ],
)
def test_other_rope_factors(factors: list[float], expected: str, tmp_path: Path) -> None:
    tensors = model_tensors() | {"rope_freqs.weight": np.array(factors, np.float32)}
    with pytest.raises(CheckpointError, match=expected):
        open_gguf(write_gguf(tmp_path / "m.gguf", tensors=tensors))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"llama.block_count": None}, r"llama\.block_count is missing"),
        ({"llama.block_count": "two"}, r"llama\.block_count must be a whole number from 1 to .*, got 'two'"),
        ({"llama.block_count": 0}, "must be a whole number from 1"),
        ({"llama.block_count": 2**32 - 1}, r"got 4294967295"),
        ({"llama.block_count": 2**31 - 1}, r"block_count is 2147483647, but there are 20 tensors"),
        ({"llama.block_count": 1.5}, r"got 1\.5"),
        ({"llama.block_count": True}, r"got True"),
        ({"llama.block_count": np.array([2], np.int32)}, r"got a list of 1"),
        ({"llama.embedding_length": [str(n) for n in range(3)]}, r"got a list of 3"),
        ({"llama.attention.layer_norm_rms_epsilon": None}, "layer_norm_rms_epsilon is missing"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "a finite number, got nan"),
        ({"llama.attention.layer_norm_rms_epsilon": 0.0}, "above 0, got 0"),
        ({"llama.rope.freq_base": -1.0}, "above 0"),
        ({"llama.vocab_size": 500}, r"vocab_size is 500, but token_embd\.weight has 400 rows"),
        ({"llama.rope.dimension_count": 4}, "heads of 8 for keys, 8 for values and 4 for the rotary embedding"),
        ({"llama.attention.value_length": 16}, "16 for values"),
        ({"llama.attention.head_count_kv": 3}, "do not fit"),
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0}, "rope scaling 'yarn' is not supported"),
        ({"llama.rope.scaling.type": "longrope"}, "rope scaling 'longrope'"),
        ({"llama.rope.scaling.factor": -2.0}, "must be above 0"),
        ({"llama.rope.scaling.attn_factor": 1.2}, r"attn_factor = 1\.2"),
        ({"llama.expert_count": 8}, r"llama\.expert_count = 8"),
        ({"llama.attention.causal": False}, r"llama\.attention\.causal = False"),
        ({"general.type": "adapter"}, "type 'adapter', not a model"),
        ({"split.count": 3}, "one of 3 parts"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=expected) as caught:
        config(tmp_path, fields)
    assert str(caught.value).startswith(f"{tmp_path / 'm.gguf'}: ")
    assert "\n" not in str(caught.value)


def test_granite_without_a_rotary_embedding(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"finetuned = False"):
        config(tmp_path, {"granite.rope.scaling.finetuned": False}, "granite")


@pytest.mark.parametrize("name", ["qwen2moe", "phi3", "gpt2", "mamba", "gemma3n", "mistral3", "LLAMA"])
def test_other_architectures_are_refused_by_name(name: str, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", name)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=rf"the architecture '{name}' is not supported, only llama \("):
        open_gguf(tmp_path / "m.gguf")


def test_keys_that_are_not_known_are_named(tmp_path: Path) -> None:
    with pytest.warns(EdgeLorahubWarning, match=r"llama\.attention\.sinks in its metadata is not known"):
        config(tmp_path, {"llama.attention.sinks": 4})


def test_metadata_of_no_weight_is_not_warned_about(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    config(tmp_path, {"general.name": "x", "general.tags": ["a"], "quantize.imatrix.file": "y"})
    assert not recwarn.list
