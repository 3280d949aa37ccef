"""What is read of a decoder-only model's config.json and tensors, and what is refused."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from decoders import TINY, export_decoder, no_lora, random_texts, write_checkpoint
from safetensors.numpy import load_file, save_file

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.export.blocks.decoder_config import DecoderConfig
from edge_lorahub.export.blocks.rotary import Llama3Scaling, Rope
from edge_lorahub.export.families import FAMILIES, find_family

PATH = Path("model/config.json")


def read(fields: dict[str, Any]) -> DecoderConfig:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return find_family(fields, PATH).read(fields, PATH)


def refused(fields: dict[str, Any]) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(fields)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert message.startswith("model/config.json: ")
    return message


# As transformers 5.24.0 writes them: json.loads(AutoConfig.for_model(**fields).to_json_string(use_diff=True)).
FIVE = {
    "llama-3": {
        "rope_parameters": {
            "factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 32,
            "rope_theta": 500000.0, "rope_type": "llama3",
        },
    },
    "llama-biases": {"rope_parameters": {"factor": 4.0, "rope_theta": 10000.0, "rope_type": "linear"}},
    "mistral": {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
    "qwen2": {
        "layer_types": ["full_attention"] * 3, "max_window_layers": 28, "sliding_window": None,
        "use_sliding_window": False, "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
    },
    "qwen2-windows": {
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    },
    "gemma": {
        "use_bidirectional_attention": None, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    },
    "gemma2": {
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "use_bidirectional_attention": None, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    },
    "gemma3": {
        "_sliding_window_pattern": 6, "use_bidirectional_attention": False, "attn_logit_softcapping": None,
        "rope_parameters": {
            "full_attention": {"rope_theta": 1000000.0, "rope_type": "default"},
            "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("family", FIVE)
def test_both_spellings_of_rotary_positions_are_the_same(family: str) -> None:
    older = TINY[family]
    spelled = {k: v for k, v in older.items() if k not in ("rope_theta", "rope_scaling", "rope_local_base_freq")}
    common = {"dtype": "float32", "transformers_version": "5.24.0", "pad_token_id": None, "use_cache": True}
    assert read({**spelled, **common, **FIVE[family]}) == read(older)
    # both at once, where they agree
    assert read({**older, **FIVE[family]}) == read(older)


def test_scaled_positions_of_gemma_3_are_those_of_full_attention() -> None:
    linear = read(TINY["gemma3"] | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}})
    five = FIVE["gemma3"]["rope_parameters"]["full_attention"] | {"rope_type": "linear", "factor": 8.0}
    parameters = FIVE["gemma3"]["rope_parameters"] | {"full_attention": five}
    spelled = {k: v for k, v in TINY["gemma3"].items() if not k.startswith("rope")}
    assert read(spelled | {"rope_parameters": parameters}) == linear
    assert [rope.divisor for rope in linear.ropes] == [1, 8, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "the rope_type 'dynamic' is not supported"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "the rope_type 'yarn' is not supported"),
        ({"rope_scaling": {"rope_type": "longrope", "short_factor": [1]}}, "the rope_type 'longrope' is not"),
        ({"rope_parameters": {"rope_type": "proportional"}}, "the rope_type 'proportional' is not supported"),
        ({"rope_scaling": {"rope_type": 3}}, "the rope_type 3 is not supported, only default, linear, llama3"),
        ({"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 2}}, "rope_type and type differ"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor of linear must be a positive number"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2, "beta_fast": 32}}, "beta_fast 32 is not supported"),
        ({"rope_scaling": {"mrope_section": [1, 2]}}, "mrope_section [1, 2] is not supported"),
        ({"rope_scaling": [2]}, "rope_scaling must be an object, got [2]"),
        ({"rope_theta": 0}, "rope_theta must be a positive number"),
        ({"rope_theta": 10**400}, "rope_theta must be a positive number"),
        ({"rope_theta": math.nan}, "rope_theta must be a positive number"),
        ({"rope_theta": True}, "rope_theta must be a positive number"),
        ({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}}, "rope_theta is 1000000.0 in rope_parameters"),
        ({"rope_parameters": {"full_attention": {}}}, "rope_parameters by kind of layer are not supported"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5 is not supported"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor 0.5 is not supported"),
        ({"hidden_act": "relu2"}, "the activation 'relu2' of hidden_act is not supported"),
        ({"hidden_act": ["silu"]}, "the activation ['silu'] of hidden_act is not supported"),
        ({"sliding_window": 4096}, "sliding_window 4096 is not supported: llama has no windows"),
        ({"layer_types": ["chunked_attention"] * 3}, "layer_types has 'chunked_attention', which is not supported"),
        ({"no_rope_layers": [1, 0, 1]}, "no_rope_layers [1, 0, 1] is not supported"),
        ({"rope_interleaved": True}, "rope_interleaved True is not supported"),
        ({"num_local_experts": 8}, "a mixture of experts (num_local_experts)"),
        ({"mamba_d_state": 16}, "a hybrid of attention and recurrent or convolutional layers (mamba_d_state)"),
        ({"vision_config": {"depth": 3}}, "(multimodal); export the checkpoint of its text model (vision_config)"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantized by awq (quantization_config)"),
        ({"quantization": {"bits": 4}}, "quantized by a library (quantization)"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification (architectures) is"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder is not supported"),
        ({"head_dim": 24}, "heads of 24 numbers (head_dim) are not supported; .* a multiple of 16"),
        ({"num_key_value_heads": 3}, "num_attention_heads is 4, no multiple of num_key_value_heads, 3"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers must be at most 1000"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers must be a whole number"),
        ({"hidden_size": None}, "hidden_size must be a whole number"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
        ({"rms_norm_eps": "1e-6"}, "rms_norm_eps must be a positive number"),
        ({"attention_bias": 1}, "attention_bias must be true or false"),
    ],
)  # fmt: skip
def test_what_llama_refuses(change: dict[str, Any], said: str) -> None:
    message = refused(TINY["llama"] | change)
    assert all(part in message for part in said.split(" .* ")), message


@pytest.mark.parametrize(
    ("family", "change", "said"),
    [
        ("mistral", {"attention_bias": True}, "attention_bias True is not supported: mistral has no such biases"),
        ("mistral", {"layer_types": ["full_attention"] * 3}, "layer_types"),
        ("mistral", {"sliding_window": 0}, "sliding_window must be a whole number of at least 1"),
        ("qwen2", {"attention_bias": False}, "attention_bias False is not supported: q, k and v have biases"),
        ("qwen2", {"use_mrope": True}, "use_mrope True is not supported: multimodal"),
        ("qwen2", {"dual_chunk_attention_config": {"chunk_size": 9}}, "dual_chunk_attention_config"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 3}, "there is no sliding_window"),
        ("qwen3", {"layer_types": ["linear_attention"] * 3}, "layer_types has 'linear_attention'"),
        ("qwen3", {"layer_types": ["full_attention"]}, "layer_types must be a list of 3 kinds of layers"),
        ("gemma", {"hidden_act": "silu"}, "hidden_act 'silu' is not supported: Gemma's activation is"),
        ("gemma", {"hidden_activation": "relu"}, "hidden_activation 'relu' is not supported"),
        ("gemma", {"use_bidirectional_attention": True}, "tokens would attend to those behind them"),
        ("gemma2", {"attn_logit_softcapping": 0}, "attn_logit_softcapping must be a positive number"),
        ("gemma2", {"layer_types": ["full_attention"]}, "layer_types must be a list of 3 kinds of layers"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping 50.0 is not supported"),
        ("gemma3", {"use_bidirectional_attention": True}, "tokens would attend to those behind them"),
        ("gemma3", {"rope_parameters": {"rope_theta": 1e6}}, "rope_parameters must have sliding_attention and"),
        ("granite", {"num_local_experts": 4}, "a mixture of experts"),
        ("granite", {"logits_scaling": 0}, "logits_scaling must be a positive number"),
        ("granite", {"logits_scaling": 1e-300}, "logits_scaling must be a positive number"),
    ],
)  # fmt: skip
def test_what_others_refuse(family: str, change: dict[str, Any], said: str) -> None:
    assert said in refused(TINY[family] | change)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "mixtral", "num_local_experts": 8}, "a mixture of experts"),
        ({"model_type": "qwen3_moe", "num_experts": 128}, "a mixture of experts"),
        ({"model_type": "gemma3", "text_config": {}, "vision_config": {"a": 1}}, "multimodal"),
        ({"model_type": "granitemoehybrid", "mamba_d_state": 256}, "a hybrid"),
        ({"model_type": "phi3"}, "model_type 'phi3' is not supported; edge-lorahub exports gemma, gemma2, "),
        ({}, "model_type is missing; edge-lorahub exports "),
        ({"model_type": ["llama"]}, "model_type ['llama'] is not supported"),
    ],
)  # fmt: skip
def test_other_families(fields: dict[str, Any], said: str) -> None:
    assert said in refused(fields)


def test_a_field_that_nobody_knows_is_warned_about() -> None:
    fields = TINY["llama"] | {"attention_sink_tokens": 4, "new_switch": False, "nothing": None, "auto_map": {"A": "b"}}
    with pytest.warns(EdgeLorahubWarning, match=r"attention_sink_tokens \(4\), auto_map .* not known"):
        FAMILIES["llama"].read(fields, PATH)


def test_published_config_files_are_read_without_a_warning() -> None:
    """The fields, if not the dimensions, of HuggingFaceTB/SmolLM2-135M and google/gemma-3-270m."""
    read(
        TINY["llama"]
        | {
            "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "silu", "initializer_range": 0.041666666666666664,
            "is_llama_config": True, "mlp_bias": False, "pretraining_tp": 1, "rms_norm_eps": 1e-5,
            "rope_interleaved": False, "rope_scaling": None, "rope_theta": 100000, "torch_dtype": "bfloat16",
            "transformers_version": "4.40.1", "use_cache": True, "_name_or_path": "x",
            "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
        }
    )  # fmt: skip
    read(
        TINY["gemma3"]
        | {
            "_sliding_window_pattern": 6, "architectures": ["Gemma3ForCausalLM"], "attention_bias": False,
            "attention_dropout": 0.0, "attn_logit_softcapping": None, "bos_token_id": 2, "eos_token_id": 1,
            "final_logit_softcapping": None, "hidden_activation": "gelu_pytorch_tanh", "initializer_range": 0.02,
            "pad_token_id": 0, "rms_norm_eps": 1e-6, "rope_scaling": None, "torch_dtype": "bfloat16",
            "transformers_version": "4.55.0.dev0", "use_bidirectional_attention": False, "use_cache": True,
        }
    )  # fmt: skip


def test_windows_and_the_least_onnxruntime() -> None:
    """A window matters where there are longer texts."""

    def found(family: str, **change: Any) -> tuple[tuple[int | None, ...], tuple[int, int]]:
        config = read(TINY[family] | change)
        return tuple(config.window(i) for i in range(3)), FAMILIES[config.model_type].least_onnxruntime(config)

    assert found("llama") == ((None,) * 3, (1, 23))
    assert found("mistral") == ((16,) * 3, (1, 24))
    assert found("mistral", sliding_window=512) == ((None,) * 3, (1, 23))
    assert found("mistral", sliding_window=None) == ((None,) * 3, (1, 23))
    assert found("gemma3") == ((16, None, 16), (1, 24))
    assert found("gemma2") == ((16, None, 16), (1, 27))
    assert found("gemma2", attn_logit_softcapping=None) == ((16, None, 16), (1, 24))
    assert found("gemma3", layer_types=None, sliding_window_pattern=2) == ((16, None, 16), (1, 24))
    assert found("qwen2-windows") == ((None, 20, 20), (1, 24))
    assert found("qwen2-windows", use_sliding_window=False) == ((None,) * 3, (1, 23))
    assert found("qwen2-windows", sliding_window=None) == ((None,) * 3, (1, 23))
    # the class's default is 4096, which is as far as the tables go
    absent = {key: value for key, value in TINY["mistral"].items() if key != "sliding_window"}
    assert read(absent | {"max_position_embeddings": 10**6}).windows == (4096,) * 3
    assert read(absent | {"max_position_embeddings": 10**6}).least_onnxruntime() == (1, 23)


@pytest.mark.parametrize("family", ["gemma2", "gemma3"])
def test_the_activation_that_transformers_reads_of_two(family: str) -> None:
    config = read(TINY[family] | {"hidden_act": "silu", "hidden_activation": "gelu_pytorch_tanh"})
    assert config.activation == "gelu_pytorch_tanh"


def test_slots() -> None:
    slots = read(TINY["llama"]).slots()
    assert len(slots) == 21
    assert vars(slots[7 + 6]) == {
        "name": "model.layers.1.mlp.down_proj", "kind": "down_proj", "d_in": 80, "d_out": 48,
    }  # fmt: skip
    assert [slot.kind for slot in slots[:3]] == ["q_proj", "k_proj", "v_proj"]


def test_llama_3s_scaling_of_positions() -> None:
    """The published rule, in float64: waves shorter than 8,192 / 4 stay, longer than 8,192 are divided by 32."""
    frequencies = Rope(500000.0, 64, llama3=Llama3Scaling(32.0, 1.0, 4.0, 8192)).frequencies()
    exact = 500000.0 ** (-np.arange(0, 64, 2) / 64)
    waves = 2 * np.pi / exact
    share = (8192 / waves - 1) / 3
    expected = np.where(
        waves < 2048, exact, np.where(waves > 8192, exact / 32, (1 - share) * exact / 32 + share * exact)
    )
    np.testing.assert_allclose(frequencies, expected, rtol=1e-6)
    assert ((waves > 2048) & (waves < 8192)).any()


def change_tensors(checkpoint: Path, **changes: np.ndarray | None) -> None:
    """Tensors by name with __ for a dot; None takes one away."""
    tensors = load_file(checkpoint / "model.safetensors")
    for name, array in changes.items():
        tensors.pop(name.replace("__", "."), None)
        if array is not None:
            tensors[name.replace("__", ".")] = array
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})


def test_the_head_and_what_config_json_says_of_it(tmp_path: Path) -> None:
    """Both must agree where both speak."""
    texts = random_texts(96, (5, 9))

    def logits(config: dict[str, Any], **changes: np.ndarray | None) -> np.ndarray:
        checkpoint = write_checkpoint(tmp_path / "c", config)
        change_tensors(checkpoint, **changes)
        exported = export_decoder(checkpoint, tmp_path / "g")
        assert exported.unused == []
        return np.concatenate(exported.logits(texts, no_lora(exported.slots)))

    untied, tied = TINY["llama"], TINY["llama"] | {"tie_word_embeddings": True}
    silent = {key: value for key, value in untied.items() if key != "tie_word_embeddings"}
    embedding = load_file(write_checkpoint(tmp_path / "e", tied) / "model.safetensors")["model.embed_tokens.weight"]
    expected = logits(tied)
    assert np.array_equal(logits(tied, lm_head__weight=embedding), expected)
    assert np.array_equal(logits(silent, lm_head__weight=embedding), logits(silent, lm_head__weight=None))
    assert not np.array_equal(logits(silent), logits(silent, lm_head__weight=None))
    with pytest.raises(CheckpointError, match=r"lm_head.weight is missing, and config.json says"):
        logits(untied, lm_head__weight=None)
    with pytest.raises(CheckpointError, match=r"lm_head.weight differs from the embedding, but config.json says"):
        logits(tied, lm_head__weight=embedding + 1)
    gemma = TINY["gemma"]
    with pytest.raises(CheckpointError, match=r"lm_head.weight differs from the embedding"):
        logits(gemma, lm_head__weight=embedding[:, :48] + 1)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("model__layers__1__self_attn__k_proj__weight", None, "model.layers.1.self_attn.k_proj.weight is missing"),
        ("model__norm__weight", None, "tensor model.norm.weight is missing"),
        ("model__norm__weight", np.ones(7, np.float32), r"has shape \(7,\), but config.json asks for \(48,\)"),
        ("model__embed_tokens__weight", np.ones((95, 48), np.float32), r"has shape \(95, 48\)"),
        ("model__norm__weight", np.full(48, np.nan, np.float32), "numbers that are not finite"),
        ("model__norm__weight", np.ones(48, np.int32), "is I32; only F64, F32, F16, BF16 can be read"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit(name: str, array: np.ndarray | None, said: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", TINY["llama"])
    change_tensors(checkpoint, **{name: array})
    with pytest.raises(CheckpointError, match=said):
        export_decoder(checkpoint, tmp_path / "g")


def test_a_wrappers_names(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", TINY["llama"])
    tensors = load_file(checkpoint / "model.safetensors")
    save_file({f"base_model.{name}": array for name, array in tensors.items()}, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no embedding: .* names begin with 'base_model.', as a wrapper's do"):
        export_decoder(checkpoint, tmp_path / "g")


def test_tensors_without_a_place_are_known(tmp_path: Path) -> None:
    """A bias that config.json does not mention, and a layer too many: for the exporter to warn of."""
    checkpoint = write_checkpoint(tmp_path / "c", TINY["llama-biases"])
    (checkpoint / "config.json").write_text(
        json.dumps(TINY["llama-biases"] | {"mlp_bias": False, "num_hidden_layers": 2})
    )
    unused = export_decoder(checkpoint, tmp_path / "g").unused
    assert "model.layers.0.mlp.up_proj.bias" in unused
    assert "model.layers.2.self_attn.q_proj.weight" in unused
    assert "model.layers.0.self_attn.q_proj.bias" not in unused
