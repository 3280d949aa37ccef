"""What an adapter's record says of its matrices and of the bundle is checked when the adapter is used again."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from safetensors.numpy import load_file, save_file

from edge_lorahub import Example, Modules, Settings, adapt, load, load_adapter
from edge_lorahub.baking import bake
from edge_lorahub.bench.random_models import write_checkpoint
from edge_lorahub.contract import read_manifest
from edge_lorahub.errors import EdgeLorahubWarning, ModuleFileError
from edge_lorahub.export import export


@pytest.fixture(scope="module")
def adapter(
    bundle: Path, module_folders: list[Path], examples: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("adapter") / "learned"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        result = adapt(load(bundle, threads=1), Modules.load(module_folders), examples, Settings(budget=8))
    result.adapter.save(out)
    return out


def warned(adapter: Path, bundle: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_adapter(adapter, read_manifest(bundle))
    return [str(one.message) for one in caught]


def test_the_same_bundle_says_nothing(adapter: Path, bundle: Path) -> None:
    assert warned(adapter, bundle) == []


def test_matrices_that_were_changed_are_refused(
    adapter: Path, bundle: Path, tmp_path: Path, fails: Callable[..., str], run: Callable[..., Result]
) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    tensors = load_file(copy / "adapter_model.safetensors")
    key = min(tensors)
    tensors[key].view(np.uint32)[0, 0] ^= 1  # one bit
    save_file(tensors, copy / "adapter_model.safetensors")
    for line in (fails("generate", bundle, "w3", "--adapter", copy), fails("inspect", copy)):
        assert "not the matrices that edge_lorahub.json was written for" in line
    (copy / "edge_lorahub.json").unlink()
    assert run("inspect", copy).exit_code == 0


def test_a_scale_that_was_changed_is_refused(adapter: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    settings = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 2 * settings["lora_alpha"]}))
    with pytest.raises(ModuleFileError, match="not the matrices"):
        load_adapter(copy)


def test_a_truncated_adapter_has_a_digest_of_its_own(adapter: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        smaller, _ = load_adapter(adapter).truncated(1)
    smaller.save(tmp_path / "smaller")
    assert load_adapter(tmp_path / "smaller").record["adapter_sha256"] == smaller.sha256


def test_another_bundle_is_warned_about_by_what_differs(
    adapter: Path, bundle: Path, checkpoint: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    export(checkpoint, tmp_path / "int8", precision="int8")
    assert warned(adapter, tmp_path / "int8") == [
        "learned: learned with weights in fp32, and this bundle's are in int8"
    ]
    other = write_checkpoint(tmp_path / "tiny", "tiny", seed=1)
    export(other, tmp_path / "other")
    (line,) = warned(adapter, tmp_path / "other")
    assert line.startswith("learned: learned with other weights (sha256 ")
    bake(bundle, load_adapter(module_folders[0]), tmp_path / "baked")
    assert warned(adapter, tmp_path / "baked") == [
        "learned: learned with other weights; into this bundle's module-0 was baked"
    ]
    bake(bundle, load_adapter(adapter), tmp_path / "itself")
    assert warned(adapter, tmp_path / "itself") == []  # said when it is put in
