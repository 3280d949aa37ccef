"""adapter_config.json: what is refused by name, and which rank, scale and layers peft's rules give."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest

from edge_lorahub.errors import EdgeLorahubWarning, MissingPathError, ModuleFileError
from edge_lorahub.lora.loading import load_module
from edge_lorahub.lora.peft_config import LoraConfig, read_lora_config

BASE = {"peft_type": "LORA", "task_type": "SEQ_2_SEQ_LM", "r": 8, "lora_alpha": 16, "target_modules": ["q", "v"]}
ENCODER_Q = "encoder.block.0.layer.0.SelfAttention.q"
ENCODER_V = "encoder.block.1.layer.0.SelfAttention.v"
DECODER_Q = "decoder.block.1.layer.1.EncDecAttention.q"
WO = "decoder.block.11.layer.2.DenseReluDense.wo"
LAYERS = (ENCODER_Q, ENCODER_V, DECODER_Q, WO)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def read(folder: Path, **fields: Any) -> LoraConfig:
    """Reads BASE with other fields; a field of ... is left out."""
    settings = {key: value for key, value in (BASE | fields).items() if value is not ...}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return read_lora_config(folder)


def refusal(folder: Path, **fields: Any) -> str:
    with pytest.raises(ModuleFileError) as error:
        read(folder, **fields)
    message = str(error.value)
    assert message.startswith(f"{folder / 'adapter_config.json'}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_dora", True),
        ("use_qalora", True),
        ("lora_bias", True),
        ("modules_to_save", ["lm_head"]),
        ("layer_replication", [[0, 2], [1, 3]]),
        ("trainable_token_indices", [1, 2]),
        ("target_parameters", ["experts.gate_up_proj"]),
        ("alora_invocation_tokens", [5, 6]),
        ("megatron_config", {"a": 1}),
        ("arrow_config", {"a": 1}),
        ("peft_type", "IA3"),
        ("peft_type", "ADALORA"),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_16"),
        ("init_lora_weights", "PiSSA"),
        ("init_lora_weights", "olora"),
        ("init_lora_weights", "corda"),
        ("init_lora_weights", "loftq"),
    ],
)
def test_what_would_change_the_result_is_refused_by_name(folder: Path, field: str, value: Any) -> None:
    message = refusal(folder, **{field: value})
    assert field in message
    assert repr(value) in message
    assert "not supported" in message


def test_no_peft_type_is_refused(folder: Path) -> None:
    assert "peft_type None" in refusal(folder, peft_type=...)


# What peft makes of them is in test_oracle_module_files.py: the same LoRA, or no model at all.
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task_type", "CASUAL_LM"),
        ("task_type", "FEATURE_EXTRACTION"),
        ("task_type", "SEQ_CLS"),
        ("task_type", 3),
        ("bias", "all"),
        ("bias", "lora_only"),
        ("fan_in_fan_out", True),
    ],
)
def test_what_changes_nothing_is_named(folder: Path, field: str, value: Any) -> None:
    config = read(folder, **{field: value})
    (idle,) = config.idle_fields
    assert idle.startswith(f"{field} {value!r} ")
    assert read(folder).idle_fields == ()


@pytest.mark.parametrize("bias", ["everything", None, ["all"], ""])
def test_a_bias_that_peft_does_not_know_is_refused(folder: Path, bias: Any) -> None:
    assert f"bias {bias!r} is unknown" in refusal(folder, bias=bias)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_modules", ["_orig_mod.encoder.block.0.layer.0.SelfAttention.q"]),
        ("target_modules", r"module\.encoder.*"),
        ("exclude_modules", ["module.decoder"]),
        ("rank_pattern", {"_fsdp_wrapped_module.q": 2}),
        ("alpha_pattern", {r"_orig_mod\.encoder.*": 2}),
        ("layers_pattern", ["module.block"]),
    ],
)
def test_a_wrappers_name_in_the_settings_is_refused(folder: Path, field: str, value: Any) -> None:
    assert "names the wrapper" in refusal(folder, **{field: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"use_dora": False, "lora_bias": False, "fan_in_fan_out": False, "modules_to_save": None, "bias": "none"},
        {"megatron_config": None, "target_parameters": [], "layer_replication": None, "trainable_token_indices": None},
        {"task_type": None},
        {"task_type": "CAUSAL_LM"},
        {"init_lora_weights": True},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "eva"},
        {"lora_dropout": 0.1, "inference_mode": True, "loftq_config": {}, "megatron_core": "megatron.core"},
    ],
)
def test_what_does_not_change_the_result_is_read(folder: Path, fields: dict[str, Any]) -> None:
    config = read(folder, **fields)
    assert config.unknown_fields == ()
    assert (config.rank, config.alpha) == (8, 16)


def test_unknown_newer_fields_count_only_when_they_are_not_empty(folder: Path) -> None:
    config = read(folder, use_future=True, new_list=[], new_flag=False, new_text="", new_none=None, other={"a": 1})
    assert config.unknown_fields == ("use_future", "other")


def test_unknown_newer_fields_are_warned_about_by_name(module_folders: list[Path], tmp_path: Path) -> None:
    settings = json.loads((module_folders[0] / "adapter_config.json").read_text())
    (tmp_path / "adapter_model.safetensors").write_bytes((module_folders[0] / "adapter_model.safetensors").read_bytes())
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings | {"use_future": True, "empty_future": []}))
    with pytest.warns(EdgeLorahubWarning, match=r"unknown settings are ignored: use_future$"):
        load_module(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings | {"empty_future": []}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_module(tmp_path)


@pytest.mark.parametrize(
    ("fields", "ranks"),
    [
        ({}, (8, 8, 8, 8)),
        ({"r": ...}, (8, 8, 8, 8)),
        ({"rank_pattern": {"q": 2}}, (2, 8, 2, 8)),
        ({"rank_pattern": {ENCODER_Q: 3}}, (3, 8, 8, 8)),
        ({"rank_pattern": {"SelfAttention.v": 4, "wo": 1}}, (8, 4, 8, 1)),
        ({"rank_pattern": {r"decoder\..*": 5}}, (8, 8, 5, 5)),
        # the first pattern that matches, in the file's order
        ({"rank_pattern": {"SelfAttention.q": 6, "q": 7}}, (6, 8, 7, 8)),
        ({"rank_pattern": {"q": 7, "SelfAttention.q": 6}}, (7, 8, 7, 8)),
        # matched at the end of a name, from the start of a part
        ({"rank_pattern": {"o": 9, "ttention.q": 9, "SelfAttention": 9}}, (8, 8, 8, 8)),
    ],
)
def test_the_rank_of_a_layer(folder: Path, fields: dict[str, Any], ranks: tuple[int, ...]) -> None:
    config = read(folder, **fields)
    assert tuple(settings.rank for settings in config.of_layers(LAYERS).values()) == ranks


@pytest.mark.parametrize(
    ("fields", "scales"),
    [
        ({}, (2, 2, 2, 2)),
        ({"lora_alpha": ...}, (1, 1, 1, 1)),
        ({"lora_alpha": 0.5}, (1 / 16,) * 4),
        ({"use_rslora": True}, (16 / math.sqrt(8),) * 4),
        ({"alpha_pattern": {"q": 4}}, (0.5, 2, 0.5, 2)),
        ({"rank_pattern": {"q": 4}}, (4, 2, 4, 2)),
        ({"rank_pattern": {"q": 4}, "alpha_pattern": {ENCODER_Q: 2}}, (0.5, 2, 4, 2)),
        ({"rank_pattern": {"wo": 4}, "alpha_pattern": {"wo": 6}, "use_rslora": True}, (16 / math.sqrt(8),) * 3 + (3,)),
    ],
)
def test_the_scale_of_a_layer(folder: Path, fields: dict[str, Any], scales: tuple[float, ...]) -> None:
    config = read(folder, **fields)
    assert tuple(settings.scale for settings in config.of_layers(LAYERS).values()) == pytest.approx(scales)


# The expected columns (ENCODER_Q, ENCODER_V, DECODER_Q, WO) are those of peft's check_target_module_exists.
@pytest.mark.parametrize(
    ("fields", "targeted"),
    [
        ({}, (1, 1, 1, 0)),
        ({"target_modules": ["SelfAttention.q"]}, (1, 0, 0, 0)),
        ({"target_modules": ["ttention.q"]}, (0, 0, 0, 0)),
        ({"target_modules": [DECODER_Q]}, (0, 0, 1, 0)),
        ({"target_modules": r".*SelfAttention\.(q|v)"}, (1, 1, 0, 0)),
        ({"target_modules": r"q|v"}, (0, 0, 0, 0)),
        ({"target_modules": r"decoder.*"}, (0, 0, 1, 1)),
        ({"exclude_modules": ["v"]}, (1, 0, 1, 0)),
        ({"exclude_modules": [ENCODER_Q]}, (0, 1, 1, 0)),
        ({"exclude_modules": r"decoder\..*"}, (1, 1, 0, 0)),
        ({"target_modules": r".*\.q", "exclude_modules": r"encoder.*"}, (0, 0, 1, 0)),
        ({"layers_to_transform": 1}, (0, 1, 1, 0)),
        # the newest peft takes the first number of a name (older ones the last), and what either targets is read
        ({"layers_to_transform": 0}, (1, 1, 0, 0)),
        ({"layers_to_transform": [0, 1]}, (1, 1, 1, 0)),
        ({"layers_to_transform": []}, (1, 1, 1, 0)),
        ({"target_modules": ["wo"], "layers_to_transform": [11]}, (0, 0, 0, 1)),
        ({"target_modules": ["wo"], "layers_to_transform": [1]}, (0, 0, 0, 0)),
        ({"layers_to_transform": [1], "layers_pattern": "block"}, (0, 1, 1, 0)),
        ({"layers_to_transform": [1], "layers_pattern": ["layer"]}, (0, 0, 1, 0)),
        ({"layers_to_transform": [0], "layers_pattern": ["nothing", "layer"]}, (1, 1, 0, 0)),
        ({"layers_to_transform": [1], "layers_pattern": ["nothing"]}, (0, 0, 0, 0)),
        ({"layers_to_transform": [1], "layers_pattern": []}, (0, 1, 1, 0)),
        # a layer that is named in full is not narrowed down
        ({"target_modules": [ENCODER_Q, "v"], "layers_to_transform": [5]}, (1, 0, 0, 0)),
        # peft's default for T5 and mT5, which the other fields narrow down as they do a list
        ({"target_modules": ...}, (1, 1, 1, 0)),
        ({"target_modules": None}, (1, 1, 1, 0)),
        ({"target_modules": None, "layers_to_transform": [0]}, (1, 1, 0, 0)),
        ({"target_modules": None, "exclude_modules": ["v"]}, (1, 0, 1, 0)),
        ({"target_modules": []}, (0, 0, 0, 0)),
        ({"target_modules": "all-linear"}, (1, 1, 1, 1)),
        ({"target_modules": "All-Linear"}, (1, 1, 1, 1)),
        ({"target_modules": ["all-linear"]}, (0, 0, 0, 0)),
        ({"exclude_modules": "all-linear"}, (1, 1, 1, 0)),
        ({"target_modules": "all-linear", "exclude_modules": ["q"]}, (0, 1, 0, 1)),
        # the last list of that name in the older versions
        ({"target_modules": ["q"], "layers_to_transform": [7], "layers_pattern": "layer"}, (0, 0, 0, 0)),
    ],
)
def test_the_layers_that_are_targeted(folder: Path, fields: dict[str, Any], targeted: tuple[int, ...]) -> None:
    config = read(folder, **fields)
    assert tuple(settings.targeted for settings in config.of_layers(LAYERS).values()) == tuple(map(bool, targeted))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"r": 0}, "r must be a whole number of at least 1, got 0"),
        ({"r": "8"}, "r must be a whole number of at least 1, got '8'"),
        ({"r": 8.0}, "r must be a whole number of at least 1, got 8.0"),
        ({"r": 10**400}, "r is 1000000000000000000000000000000000000000, more than any matrix has rows"),
        ({"rank_pattern": {"q": 1 << 40}}, "rank_pattern['q'] is 1099511627776, more than any matrix has rows"),
        ({"r": True}, "r must be a whole number"),
        ({"r": None}, "r must be a whole number"),
        ({"lora_alpha": "16"}, "lora_alpha must be a number, got '16'"),
        ({"lora_alpha": float("nan")}, "lora_alpha must be a number, got nan"),
        ({"lora_alpha": float("inf")}, "lora_alpha must be a number, got inf"),
        ({"lora_alpha": None}, "lora_alpha must be a number"),
        ({"lora_alpha": 10**400}, "lora_alpha must be a number"),
        ({"rank_pattern": ["q"]}, "rank_pattern must be an object"),
        ({"rank_pattern": {"q": 0}}, "rank_pattern['q'] must be a whole number"),
        ({"rank_pattern": {"(": 4}}, "'(' is not a regular expression"),
        ({"alpha_pattern": {"q": []}}, "alpha_pattern['q'] must be a number"),
        ({"alpha_pattern": 3}, "alpha_pattern must be an object"),
        ({"target_modules": 3}, "target_modules must be a list of names, got 3"),
        ({"target_modules": ["q", 3]}, "target_modules must be a list of names"),
        ({"target_modules": "*q"}, "'*q' is not a regular expression"),
        ({"exclude_modules": {"q": 1}}, "exclude_modules must be a list of names"),
        ({"layers_to_transform": "1"}, "layers_to_transform must be numbers of layers, got '1'"),
        ({"layers_to_transform": [1.5]}, "layers_to_transform must be numbers of layers"),
        ({"layers_pattern": ["("]}, "'(' is not a regular expression"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(folder: Path, fields: dict[str, Any], words: str) -> None:
    assert words in refusal(folder, **fields)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_what_is_no_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "adapter_config.json").write_bytes(content)
    with pytest.raises(ModuleFileError, match=r"adapter_config\.json: (not valid JSON|expected a JSON object)"):
        read_lora_config(folder)


def test_a_missing_file_is_told_apart(folder: Path) -> None:
    with pytest.raises(MissingPathError, match="no such file"):
        read_lora_config(folder)
