"""Modules that peft saved, with every setting that decides what they compute: ours read as peft's own model."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from oracle import Batch, all_kinds, assert_same, lora_layers, oracle_model, oracle_result, our_result, random_batch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from edge_lorahub import Model, load, load_adapter
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import EdgeLorahubWarning, ModuleFileError
from edge_lorahub.export import export
from edge_lorahub.lora.loading import load_module
from edge_lorahub.testing.random_models import write_checkpoint

pytestmark = pytest.mark.oracle

ENCODER_Q = "encoder.block.1.layer.0.SelfAttention.q"
# target_modules, and how many of tiny's 36 linear layers peft then patches
CONFIGS: dict[str, tuple[dict[str, Any], int]] = {
    "names": ({"target_modules": ["q", "v"]}, 12),
    "every kind": ({"target_modules": ["q", "k", "v", "o", "wi_0", "wi_1", "wo"]}, 36),
    "all-linear": ({"target_modules": "all-linear"}, 36),
    "a full name": ({"target_modules": [ENCODER_Q, "wo"]}, 5),
    "a longer suffix": ({"target_modules": ["SelfAttention.q", "EncDecAttention.v"]}, 6),
    "regex": ({"target_modules": r".*decoder.*EncDecAttention\.(q|v)"}, 4),
    "rslora": ({"target_modules": ["q", "v"], "use_rslora": True}, 12),
    "rank_pattern": ({"target_modules": ["q", "v", "wo"], "rank_pattern": {"q": 2, "decoder.*wo": 7}}, 16),
    "alpha_pattern": ({"target_modules": ["q", "v"], "alpha_pattern": {"v": 3, ENCODER_Q: 20}}, 12),
    "both patterns and rslora": (
        {
            "target_modules": ["q", "v", "o"],
            "rank_pattern": {r"block\.0\..*q": 3, "q": 5},
            "alpha_pattern": {"q": 11, "^encoder.*o": 2},
            "use_rslora": True,
        },
        18,
    ),
    "an anchored pattern": ({"target_modules": ["q"], "rank_pattern": {f"^{ENCODER_Q}": 2}}, 6),
    "layers_to_transform": (
        {"target_modules": ["q", "v"], "layers_to_transform": [1], "layers_pattern": "block"},
        6,
    ),
    "one layer by number": ({"target_modules": ["q"], "layers_to_transform": 0, "layers_pattern": ["block"]}, 3),
    "exclude_modules": ({"target_modules": ["q", "v", "wo"], "exclude_modules": ["wo", ENCODER_Q]}, 11),
    "the default of the family": ({"target_modules": None}, 12),
    "the default, narrowed down": ({"target_modules": None, "exclude_modules": r".*decoder.*"}, 4),
    "no task": ({"target_modules": ["q", "v"], "task_type": None}, 12),
    "bias all": ({"target_modules": ["q", "v"], "bias": "all"}, 12),
    "bias lora_only": ({"target_modules": ["q", "v"], "bias": "lora_only"}, 12),
    "fan_in_fan_out": ({"target_modules": ["q", "v"], "fan_in_fan_out": True}, 12),
    "exclude by regex": ({"target_modules": ["q", "v"], "exclude_modules": r".*decoder.*"}, 4),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", "tiny")


@pytest.fixture(scope="module")
def ours(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    bundle = tmp_path_factory.mktemp("bundle") / "tiny"
    export(checkpoint, bundle, slots=all_kinds("tiny"))
    return load(bundle, threads=1)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return random_batch(128)


def trained(checkpoint: Path, **settings: Any) -> PeftModel:
    """A peft model as after training: B is not zero."""
    config = LoraConfig(**{"task_type": "SEQ_2_SEQ_LM", "r": 4, "lora_alpha": 6} | settings)
    torch.manual_seed(0)  # of peft's A too
    model = get_peft_model(oracle_model(checkpoint), config).eval()
    for layer in lora_layers(model).values():
        torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    return model


def assert_reads_as(model: PeftModel, folder: Path, ours: Model, batch: Batch) -> None:
    """The same layers, the same deltas (to float32's rounding), the same logits."""
    deltas = {name: layer.get_delta_weight("default").detach() for name, layer in lora_layers(model).items()}
    loras = dict(load_module(folder).loras())
    assert loras.keys() == deltas.keys()
    for name, lora in loras.items():
        np.testing.assert_allclose(lora.scale * (lora.b @ lora.a), deltas[name], atol=1e-6)
    inputs = load_adapter(folder, ours.manifest).inputs(ours.manifest)
    plain = our_result(ours, plain_inputs(ours.manifest.slots), batch)
    assert_same(our_result(ours, inputs, batch), oracle_result(model, batch), other_than=plain)


@pytest.mark.filterwarnings("ignore:.*settings that change nothing", "ignore:fan_in_fan_out is set to True:UserWarning")
@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str, checkpoint: Path, ours: Model, batch: Batch, tmp_path: Path) -> None:
    settings, layers = CONFIGS[name]
    model = trained(checkpoint, **settings)
    assert len(lora_layers(model)) == layers
    model.save_pretrained(tmp_path)
    assert_reads_as(model, tmp_path, ours, batch)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_of_a_file(dtype: torch.dtype, checkpoint: Path, ours: Model, batch: Batch, tmp_path: Path) -> None:
    """The truth is peft's model of the same file, in float32."""
    trained(checkpoint, target_modules=["q", "v"]).save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({key: tensor.to(dtype) for key, tensor in load_file(path).items()}, path, {"format": "pt"})
    model = PeftModel.from_pretrained(oracle_model(checkpoint), tmp_path).float().eval()
    assert_reads_as(model, tmp_path, ours, batch)


@pytest.mark.parametrize("adapter", ["default", "task_7"])
def test_keys_with_the_adapters_name(adapter: str, checkpoint: Path, ours: Model, batch: Batch, tmp_path: Path) -> None:
    """Keys of a whole model's state_dict(), which peft itself strips of the name when it saves."""
    model = trained(checkpoint, target_modules=["q", "v"])
    model.save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = {key.replace(".weight", f".{adapter}.weight"): tensor for key, tensor in load_file(path).items()}
    assert f"base_model.model.{ENCODER_Q}.lora_A.{adapter}.weight" in tensors
    save_file(tensors, path, {"format": "pt"})
    assert_reads_as(model, tmp_path, ours, batch)


def rewrite(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.filterwarnings("ignore:.*settings that change nothing", "ignore:Found missing adapter keys:UserWarning")
@pytest.mark.parametrize(
    "fields",
    [
        {"task_type": "CAUSAL_LM"},
        {"task_type": "FEATURE_EXTRACTION"},
        {"task_type": "SEQ_CLS"},
        {"task_type": "TOKEN_CLS"},
        {"target_modules": None},
        {"target_modules": "All-Linear"},
    ],
    ids=str,
)
def test_settings_that_come_to_the_same(
    fields: dict[str, Any], checkpoint: Path, ours: Model, batch: Batch, tmp_path: Path
) -> None:
    """The truth is peft's model of the file with those settings, whatever class it makes."""
    trained(checkpoint, target_modules=["q", "v"]).save_pretrained(tmp_path)
    rewrite(tmp_path, **fields)
    truth = oracle_result(PeftModel.from_pretrained(oracle_model(checkpoint), tmp_path).eval(), batch)
    other_kind = fields.get("task_type") == "CAUSAL_LM"
    with pytest.warns(EdgeLorahubWarning, match="does not say 'SEQ_2_SEQ_LM'") if other_kind else nullcontext():
        inputs = load_adapter(tmp_path, ours.manifest).inputs(ours.manifest)
    plain = our_result(ours, plain_inputs(ours.manifest.slots), batch)
    assert_same(our_result(ours, inputs, batch), truth, other_than=plain)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.nn.DataParallel(model),
        lambda model: torch.compile(model),
        lambda model: torch.nn.DataParallel(torch.compile(model)),
    ],
    ids=["module", "_orig_mod", "both"],
)
def test_the_state_dict_of_a_wrapped_model(
    wrap: Callable[[torch.nn.Module], torch.nn.Module], checkpoint: Path, ours: Model, batch: Batch, tmp_path: Path
) -> None:
    """The keys that torch's own wrappers give; the truth is the model that was wrapped."""
    model = trained(checkpoint, target_modules=["q", "v"])
    model.save_pretrained(tmp_path)
    tensors = {key: tensor for key, tensor in wrap(model).state_dict().items() if "lora_" in key}
    assert not [key for key in tensors if key.startswith("base_model")]
    save_file(tensors, tmp_path / "adapter_model.safetensors", {"format": "pt"})
    assert_reads_as(model, tmp_path, ours, batch)


def test_a_model_that_was_wrapped_before_peft(checkpoint: Path, ours: Model, batch: Batch, tmp_path: Path) -> None:
    """peft's own file of a compiled model: the wrapper's name is in the middle of every key."""
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["q", "v"])
    model = get_peft_model(torch.compile(oracle_model(checkpoint)), config).eval()
    deltas = {}
    for name, layer in lora_layers(model).items():
        torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
        deltas[name.removeprefix("_orig_mod.")] = layer.get_delta_weight("default").detach().numpy()
    assert not deltas.keys() & lora_layers(model).keys()
    model.save_pretrained(tmp_path)
    loras = dict(load_module(tmp_path).loras())
    assert loras.keys() == deltas.keys()
    for name, lora in loras.items():
        np.testing.assert_allclose(lora.scale * (lora.b @ lora.a), deltas[name], atol=1e-6)


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_what_peft_computes_otherwise_is_refused(settings: dict[str, Any], checkpoint: Path, tmp_path: Path) -> None:
    trained(checkpoint, target_modules=["q", "v"], **settings).save_pretrained(tmp_path)
    with pytest.raises(ModuleFileError, match=next(iter(settings))):
        load_module(tmp_path)


@pytest.mark.filterwarnings("error")
def test_a_plain_module_has_no_unknown_settings(checkpoint: Path, tmp_path: Path) -> None:
    """Every field that this peft writes is known, or empty: no warning."""
    trained(checkpoint, target_modules=["q", "v"]).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "LORA"
    load_module(tmp_path)
