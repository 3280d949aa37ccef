"""adapter_config.json: what is refused by name, and peft's rules for ranks, scales and targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_lorahub.errors import ModuleFileError
from edge_lorahub.peft_config import LoraConfig, read_lora_config

PLAIN = {
    "peft_type": "LORA", "task_type": "SEQ_2_SEQ_LM", "base_model_name_or_path": "t5", "r": 8, "lora_alpha": 16,
    "target_modules": ["q", "v"], "bias": "none",
}  # fmt: skip
Q0, Q1 = (f"encoder.block.{i}.layer.0.SelfAttention.q" for i in range(2))
CROSS = "decoder.block.1.layer.1.EncDecAttention.v"
WO = "decoder.block.1.layer.2.DenseReluDense.wo"


def config(folder: Path, **fields: object) -> LoraConfig:
    (folder / "adapter_config.json").write_text(json.dumps(PLAIN | fields))
    return read_lora_config(folder)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"peft_type": "ADALORA"}, "peft_type 'ADALORA' is not supported"),
        ({"peft_type": None}, "peft_type None is not supported"),
        ({"task_type": "CAUSAL_LM"}, "task_type 'CAUSAL_LM'"),
        ({"bias": "lora_only"}, "bias 'lora_only' is not supported"),
        *(
            ({name: value}, f"{name} is not supported")
            for name, value in {
                "use_dora": True, "use_qalora": True, "lora_bias": True, "fan_in_fan_out": True,
                "modules_to_save": ["lm_head"], "layer_replication": [[0, 2]], "trainable_token_indices": [1],
                "target_parameters": ["x"], "use_bdlora": {"a": 1}, "alora_invocation_tokens": [1],
            }.items()
        ),
        *(
            ({"init_lora_weights": name}, f"init_lora_weights '{name}' is not supported")
            for name in ("pissa", "pissa_niter_16", "olora", "loftq", "corda")
        ),
        ({"r": 0}, "r must be a whole number of at least 1, got 0"),
        ({"r": "8"}, "r must be a whole number"),
        ({"lora_alpha": "high"}, "lora_alpha must be a number, got 'high'"),
        ({"rank_pattern": {"q": -1}}, r"rank_pattern\['q'\] must be a whole number"),
        ({"rank_pattern": ["q"]}, "rank_pattern must be an object"),
        ({"alpha_pattern": {"(": 1}}, "is not a regular expression"),
        ({"target_modules": "(q"}, "is not a regular expression"),
        ({"target_modules": [1]}, "target_modules must be a list of names"),
        ({"layers_to_transform": "all"}, "layers_to_transform must be numbers"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, fields: dict[str, object], words: str) -> None:
    with pytest.raises(ModuleFileError, match=words):
        config(tmp_path, **fields)


def test_unknown_settings_matter_only_when_they_say_something(tmp_path: Path) -> None:
    empty = {f"new_{i}": value for i, value in enumerate([None, False, [], {}, "", 0])}
    assert config(tmp_path, **empty).unknown_fields == ()
    assert config(tmp_path, **empty, new_trick=True).unknown_fields == ("new_trick",)


def test_ranks_and_scales(tmp_path: Path) -> None:
    plain = config(tmp_path)
    assert (plain.rank_of(Q0), plain.scale_of(Q0)) == (8, 2.0)
    assert config(tmp_path, use_rslora=True).scale_of(Q0) == pytest.approx(16 / 8**0.5)
    assert config(tmp_path, task_type=None, lora_alpha=4.0).scale_of(Q0) == 0.5
    mixed = config(tmp_path, rank_pattern={"block.1.layer.0.SelfAttention.q": 4, "wo": 2}, alpha_pattern={"wo": 1})
    assert [mixed.rank_of(layer) for layer in (Q0, Q1, CROSS, WO)] == [8, 4, 8, 2]
    assert [mixed.scale_of(layer) for layer in (Q0, Q1, WO)] == [2.0, 4.0, 0.5]
    expression = config(tmp_path, rank_pattern={r"encoder\..*\.q": 3})
    assert [expression.rank_of(layer) for layer in (Q0, CROSS)] == [3, 8]


@pytest.mark.parametrize(
    ("fields", "expected"),  # whether Q0, Q1, CROSS and WO get a LoRA
    [
        ({}, (1, 1, 1, 0)),
        ({"target_modules": ["wo"]}, (0, 0, 0, 1)),
        ({"target_modules": ["o"]}, (0, 0, 0, 0)),
        ({"target_modules": [Q1]}, (0, 1, 0, 0)),
        ({"target_modules": r".*\.(q|wo)"}, (1, 1, 0, 1)),
        ({"target_modules": r"encoder.*"}, (1, 1, 0, 0)),
        ({"target_modules": "q"}, (0, 0, 0, 0)),  # an expression must match the whole name
        ({"target_modules": "all-linear"}, (1, 1, 1, 1)),
        ({"exclude_modules": ["v"]}, (1, 1, 0, 0)),
        ({"exclude_modules": r"encoder\..*"}, (0, 0, 1, 0)),
        ({"layers_to_transform": 1}, (0, 1, 1, 0)),
        ({"layers_to_transform": [0]}, (1, 0, 0, 0)),
        ({"layers_to_transform": [0, 1], "layers_pattern": "block"}, (1, 1, 1, 0)),
        ({"layers_to_transform": [1], "layers_pattern": ["layer"]}, (0, 0, 1, 0)),
        ({"layers_to_transform": [1], "layers_pattern": ["h"]}, (0, 0, 0, 0)),
        ({"layers_to_transform": [1], "target_modules": r".*\.q"}, (1, 1, 0, 0)),
    ],
)
def test_targets(tmp_path: Path, fields: dict[str, object], expected: tuple[int, ...]) -> None:
    found = config(tmp_path, **fields)
    assert tuple(int(found.targets(layer)) for layer in (Q0, Q1, CROSS, WO)) == expected
