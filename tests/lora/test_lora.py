"""A pair's numbers checked, and the identity of a set of pairs: what it computes with, however it was written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from torch_files import state_dict

from edge_lorahub import Modules, load_adapter
from edge_lorahub.errors import ModuleFileError
from edge_lorahub.lora.loading import load_module
from edge_lorahub.lora.pair import Lora, identity

A = np.arange(8, dtype=np.float32).reshape(2, 4)
B = np.arange(6, dtype=np.float32).reshape(3, 2) - 2


@pytest.fixture
def twin(module_folders: list[Path], tmp_path: Path) -> Path:
    """A copy of a module of rank 4 and alpha 8, under another name."""
    return Path(shutil.copytree(module_folders[0], tmp_path / "twin"))


def rewrite(folder: Path, **fields: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_the_file_has_no_part_in_it(module_folders: list[Path], twin: Path) -> None:
    expected = load_module(module_folders[0]).sha256
    tensors = load_file(twin / "adapter_model.safetensors")
    # another order, names with the adapter's, and metadata
    renamed = {key.replace(".weight", ".task.weight"): tensors[key] for key in reversed(tensors)}
    save_file(renamed, twin / "adapter_model.safetensors", {"made": "again"})
    assert load_module(twin).sha256 == expected
    save_file({key: tensor.astype(np.float64) for key, tensor in tensors.items()}, twin / "adapter_model.safetensors")
    assert load_module(twin).sha256 == expected
    state_dict(twin / "adapter_model.bin", tensors)
    (twin / "adapter_model.safetensors").unlink()
    assert load_module(twin).sha256 == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"lora_dropout": 0.5, "base_model_name_or_path": "another", "revision": "main", "task_type": None},
        {"target_modules": None},
        {"target_modules": "all-linear"},
        {"r": 7, "lora_alpha": 14, "rank_pattern": {"q": 4, "v": 4}, "alpha_pattern": {"q": 8, "v": 8}},
        {"use_rslora": True, "lora_alpha": 4},
    ],
)
def test_settings_that_come_to_the_same(module_folders: list[Path], twin: Path, fields: dict[str, object]) -> None:
    rewrite(twin, **fields)
    assert load_module(twin).sha256 == load_module(module_folders[0]).sha256


@pytest.mark.parametrize("fields", [{"lora_alpha": 9}, {"use_rslora": True}, {"alpha_pattern": {"q": 1}}])
def test_settings_that_act_have(module_folders: list[Path], twin: Path, fields: dict[str, object]) -> None:
    rewrite(twin, **fields)
    modules = Modules.load([module_folders[0], twin])
    assert modules[0].sha256 != modules[1].sha256


def test_every_number_has_and_every_layer_too(module_folders: list[Path], twin: Path) -> None:
    expected = load_module(module_folders[0]).sha256
    tensors = load_file(twin / "adapter_model.safetensors")
    digests = {expected}
    keys = sorted(tensors)
    for key in (keys[0], keys[1], keys[-1]):
        changed = {k: tensor.copy() for k, tensor in tensors.items()}
        changed[key][-1, -1] += 1
        save_file(changed, twin / "adapter_model.safetensors")
        digests.add(load_module(twin).sha256)
    fewer = {key: tensor for key, tensor in tensors.items() if "decoder.block.0" not in key}
    save_file(fewer, twin / "adapter_model.safetensors")
    digests.add(load_module(twin).sha256)
    assert len(digests) == 5


def test_the_layers_order_has_no_part_and_their_names_have() -> None:
    one, other = Lora(A, B, 2.0), Lora(A + 1, B, 2.0)
    assert identity([("q", one), ("v", other)]) == identity([("v", other), ("q", one)])
    assert identity([("q", one), ("v", other)]) != identity([("q", other), ("v", one)])
    # the same numbers in other shapes
    assert identity([("q", Lora(A, B, 1.0))]) != identity([("q", Lora(A.reshape(4, 2), B, 1.0))])


def test_a_saved_adapter_is_the_same_and_the_module_that_it_was(module_folders: list[Path], tmp_path: Path) -> None:
    adapter = load_adapter(module_folders[0])
    assert adapter.sha256 == load_module(module_folders[0]).sha256
    adapter.save(tmp_path / "saved")  # with its scale in B
    assert load_module(tmp_path / "saved").sha256 == adapter.sha256


@pytest.mark.parametrize(
    ("a", "b", "scale", "words"),
    [
        (np.nan, 1, 1.0, "first has numbers that are not finite"),
        (1, np.inf, 1.0, "second has numbers that are not finite"),
        (1, np.nan, 0.0, "second has numbers that are not finite"),
        (1, 1e30, 1e30, r"second times its scale of 1e\+30 is not finite"),
        (1, 0, 1e300, r"second times its scale of 1e\+300 is not finite"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(a: float, b: float, scale: float, words: str) -> None:
    lora = Lora(np.full_like(A, a), np.full_like(B, b), scale)
    with pytest.raises(ModuleFileError, match=words):
        lora.check("first", "second")


@pytest.mark.parametrize("scale", [1.0, 0.0, -3.0, 1e-300, 1e30])
def test_what_is_finite_passes(scale: float) -> None:
    Lora(A, B, scale).check("first", "second")
