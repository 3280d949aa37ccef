"""adapter_model.bin, written by torch.save itself: the restricted reader against torch.load."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from oracle import lora_layers, oracle_model
from peft import LoraConfig, get_peft_model

from edge_lorahub.errors import ModuleFileError
from edge_lorahub.lora.loading import load_module
from edge_lorahub.tensors.torch_zip import read_state_dict
from edge_lorahub.testing.random_models import write_checkpoint

pytestmark = pytest.mark.oracle

State = dict[str, torch.Tensor]


def some_tensors() -> State:
    generator = torch.Generator().manual_seed(0)
    shapes = {"wide": (4, 32), "tall": (48, 4), "row": (1, 7), "column": (7, 1), "scalar": (), "empty": (0, 3)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def converted(dtype: torch.dtype) -> Callable[[], State]:
    return lambda: {name: tensor.to(dtype) for name, tensor in some_tensors().items()}


def transposed() -> State:
    """Not contiguous: the strides count."""
    return {name: tensor.t() for name, tensor in some_tensors().items() if tensor.dim() == 2}


def strided() -> State:
    """Every other row, from the second on: an offset and a stride that is not the width."""
    return {"strided": torch.randn(10, 6)[1::2, ::3], "narrowed": torch.randn(8, 8)[2:5, 3:]}


def shared_storage() -> State:
    """Views of one storage, one of them twice; torch writes the storage once."""
    whole = torch.randn(64)
    first = whole[:32].view(4, 8)
    return {"first": first, "second": whole[32:].view(8, 4), "again": first, "overlapping": whole[16:48].view(8, 4).t()}


def half_views() -> State:
    whole = torch.randn(24).to(torch.bfloat16)
    return {"first": whole[:12].view(3, 4), "second": whole[12:].view(3, 4).t()}


def parameters() -> State:
    return {
        "trained": torch.nn.Parameter(torch.randn(4, 5)),
        "frozen": torch.nn.Parameter(torch.randn(4, 5), requires_grad=False),
        "half": torch.nn.Parameter(torch.randn(4, 5).to(torch.float16)),
        "needs gradient": torch.randn(2, 3, requires_grad=True),
    }


def module_state_dict() -> State:
    """nn.Module's own state_dict: an OrderedDict with an attribute, _metadata."""
    state = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)).state_dict()
    assert isinstance(state, OrderedDict)
    assert hasattr(state, "_metadata")
    return state


STATES: dict[str, Callable[[], State]] = {
    "float32": some_tensors,
    "float16": converted(torch.float16),
    "bfloat16": converted(torch.bfloat16),
    "float64": converted(torch.float64),
    "transposed": transposed,
    "strided": strided,
    "shared storage": shared_storage,
    "shared bfloat16": half_views,
    "parameters": parameters,
    "nn.Module.state_dict": module_state_dict,
}


@pytest.mark.parametrize("name", STATES)
def test_reads_what_torch_reads(name: str, tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.bin"
    torch.save(STATES[name](), path)
    truth = torch.load(path, weights_only=True)
    ours = read_state_dict(path)
    assert list(ours) == list(truth)
    for key, tensor in truth.items():
        assert ours[key].dtype == np.float32
        np.testing.assert_array_equal(ours[key], tensor.detach().float().numpy())


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_other_numbers_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.save({"position_ids": torch.ones(3).to(dtype)}, tmp_path / "adapter_model.bin")
    with pytest.raises(ModuleFileError, match=r"position_ids is a .*, not floating point"):
        read_state_dict(tmp_path / "adapter_model.bin")


def test_the_format_before_torch_1_6_is_refused_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.bin"
    torch.save(some_tensors(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(ModuleFileError, match=r"before torch 1\.6.*save it again"):
        read_state_dict(path)


def test_what_else_torch_saves_is_refused(tmp_path: Path) -> None:
    """A whole model, an object of torch's: not a state dict, and torch.load itself refuses it by default."""
    path = tmp_path / "adapter_model.bin"
    for value in (torch.nn.Linear(2, 2), {"a": torch.ones(2), "step": 3}, torch.ones(2), {"a": {"b": torch.ones(2)}}):
        torch.save(value, path)
        with pytest.raises(ModuleFileError, match="refused"):
            read_state_dict(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_module_that_peft_saved_as_bin(dtype: torch.dtype, tmp_path: Path) -> None:
    """save_pretrained(safe_serialization=False), as peft of 2023 did it."""
    checkpoint = write_checkpoint(tmp_path / "tiny", "tiny")
    model = get_peft_model(
        oracle_model(checkpoint), LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, lora_alpha=6, target_modules=["q", "v"])
    )
    layers = lora_layers(model)
    for layer in layers.values():
        torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
        for side in (layer.lora_A, layer.lora_B):
            side["default"].to(dtype)
    model.save_pretrained(tmp_path / "module", safe_serialization=False)
    module = load_module(tmp_path / "module")
    assert module.file.name == "adapter_model.bin"
    loras = dict(module.loras())
    assert loras.keys() == layers.keys()
    for name, lora in loras.items():
        np.testing.assert_array_equal(lora.a, layers[name].lora_A["default"].weight.detach().float())
        np.testing.assert_array_equal(lora.b, layers[name].lora_B["default"].weight.detach().float())
        assert lora.scale == layers[name].scaling["default"]
