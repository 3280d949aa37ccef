"""Tensors' names: wrappers' parts are taken off where nothing is ambiguous, and named where something is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lorahub.errors import ModuleFileError
from edge_lorahub.lora.peft_keys import pairs_of

FILE = Path("adapter_model.safetensors")
Q = "encoder.block.0.layer.0.SelfAttention.q"


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.{q}.lora_{side}.weight",
        "base_model.model.{q}.lora_{side}.my-task.weight",
        "{q}.lora_{side}.weight",
        "module.base_model.model.{q}.lora_{side}.weight",
        "_orig_mod.base_model.model.{q}.lora_{side}.weight",
        "module._orig_mod.base_model.model.{q}.lora_{side}.default.weight",
        "_orig_mod.module.base_model.model.{q}.lora_{side}.weight",
        "base_model.model._orig_mod.{q}.lora_{side}.weight",
        "base_model.model.module.{q}.lora_{side}.weight",
        "module.{q}.lora_{side}.weight",
        "base_model.model.base_model.model.{q}.lora_{side}.weight",
        "module.base_model.model.module.base_model.model.{q}.lora_{side}.weight",
        "model.{q}.lora_{side}.weight",
        "base_model.{q}.lora_{side}.default.weight",
        "module.base_model.{q}.lora_{side}.weight",
        "model.base_model.model.{q}.lora_{side}.weight",
        "_forward_module.module.model.base_model.model.{q}.lora_{side}.weight",
        "_fsdp_wrapped_module.base_model.model.encoder.block.0._fsdp_wrapped_module._checkpoint_wrapped_module.layer.0"
        ".SelfAttention.q.lora_{side}.default._fsdp_wrapped_module.weight",
    ],
)
def test_every_prefix_is_taken_off(key: str) -> None:
    names = [key.format(q=Q, side=side) for side in "BA"]
    assert pairs_of(FILE, names) == {Q: {"A": names[1], "B": names[0]}}


def test_a_model_of_a_models_own_name_stays() -> None:
    layer = "model.layers.0.self_attn.q_proj"
    names = [f"base_model.model.{layer}.lora_{side}.weight" for side in "AB"]
    assert set(pairs_of(FILE, names)) == {layer}
    assert set(pairs_of(FILE, [name.removeprefix("base_model.model.") for name in names])) == {layer}
    assert set(pairs_of(FILE, [name.removeprefix("base_model.model.model.") for name in names])) == {layer[6:]}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["x.base_model.model.q.lora_A.weight"],
            "'x' before base_model.model is not of peft, but of a model around it",
        ),
        (["q.lora_A.weight", "module.q.lora_A.weight"], "q.lora_A.weight and module.q.lora_A.weight are of the same"),
        (["q.lora_A.one.weight", "module.q.lora_A.two.weight"], "several adapters (one, two)"),
        (["base_model.model.lora_A.weight"], "it names no layer"),
        (["module.lora_A.weight"], "it names no layer"),
        (["lora_A.weight"], "not the A or B"),
        (["_orig_mod.lora_A.weight"], "not the A or B"),
        (["q.lora_A..weight"], "not the A or B"),
        (["q.lora_A.weight", ""], "not the A or B"),
        (["base_model.model.q._fsdp_wrapped_module._flat_param"], "parameters that FSDP joined"),
        (["q.lora_magnitude_vector"], "DoRA"),
        (["a.relative_attention_bias.weight"], "the base model's own position bias"),
        (["q.lora_A.weight"], "q has lora_A only"),
        ([], "no tensors"),
    ],
)
def test_what_cannot_be_read_is_named(names: list[str], words: str) -> None:
    with pytest.raises(ModuleFileError) as error:
        pairs_of(FILE, names)
    assert words in str(error.value)
    assert str(error.value).startswith(f"{FILE}: ")
