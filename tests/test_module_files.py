"""Modules on disk: both spellings of the keys, every dtype, and what does not belong there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_lorahub import EdgeLorahubWarning, Modules
from edge_lorahub.bench.random_models import write_module
from edge_lorahub.contract import read_manifest
from edge_lorahub.errors import MissingPathError, ModuleFileError, SettingsError
from edge_lorahub.peft_files import Lora, load_module, write_peft

FILE = "adapter_model.safetensors"
Q = "base_model.model.encoder.block.0.layer.0.SelfAttention.q"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_module(tmp_path / "module", "tiny", seed=3, rank=2, alpha=6)


def rewrite(folder: Path, change: dict[str, np.ndarray | None]) -> None:
    """Adds, replaces and (None) removes tensors."""
    tensors = load_file(folder / FILE) | change
    save_file({name: array for name, array in tensors.items() if array is not None}, folder / FILE)


def contents(folder: Path) -> dict[str, Lora]:
    return dict(load_module(folder).loras())


def test_the_matrices_are_read_as_they_are(folder: Path) -> None:
    tensors = load_file(folder / FILE)
    loras = contents(folder)
    assert len(loras) == 12
    for layer, lora in loras.items():
        np.testing.assert_array_equal(lora.a, tensors[f"base_model.model.{layer}.lora_A.weight"])
        np.testing.assert_array_equal(lora.b, tensors[f"base_model.model.{layer}.lora_B.weight"])
        assert lora.scale == 3.0


def test_keys_with_the_adapters_name(folder: Path) -> None:
    expected = contents(folder)
    tensors = {name.replace(".weight", ".default.weight"): a for name, a in load_file(folder / FILE).items()}
    save_file(tensors, folder / FILE)
    for layer, lora in contents(folder).items():
        np.testing.assert_array_equal(lora.a, expected[layer].a)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions(folder: Path, dtype: type) -> None:
    rounded = {name: array.astype(dtype) for name, array in load_file(folder / FILE).items()}
    save_file(rounded, folder / FILE)
    for layer, lora in contents(folder).items():
        assert lora.b.dtype == np.float32
        np.testing.assert_array_equal(lora.b, rounded[f"base_model.model.{layer}.lora_B.weight"].astype(np.float32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({f"{Q}.lora_magnitude_vector.weight": np.ones(24, np.float32)}, "lora_magnitude_vector.* DoRA"),
        ({"base_model.model.lm_head.weight": np.ones((2, 2), np.float32)}, "lm_head.weight is not supported"),
        ({f"{Q}.lora_B.weight": None}, r"SelfAttention\.q has lora_A only"),
        ({f"{Q}.lora_A.weight": np.ones((5, 32), np.float32)}, r"lora_A.weight has shape \(5, 32\), but .* rank 2"),
        ({f"{Q}.lora_A.weight": np.ones(32, np.float32)}, r"has shape \(32,\)"),
        ({f"{Q}.lora_A.weight": np.ones((2, 32), np.int8)}, "is I8; only F64, F32, F16, BF16 can be read"),
        ({f"{Q}.lora_A.other.weight": np.ones((2, 32), np.float32)}, "tensors of several adapters"),
        (
            {
                f"{Q[:-1]}k.lora_{side}.weight": np.ones(shape, np.float32)
                for side, shape in (("A", (2, 32)), ("B", (24, 2)))
            },
            "does not target that layer",
        ),
    ],
)
def test_what_does_not_belong_is_refused_by_name(
    folder: Path, change: dict[str, np.ndarray | None], words: str
) -> None:
    rewrite(folder, change)
    with pytest.raises(ModuleFileError, match=words):
        contents(folder)


def test_an_empty_file_of_tensors(folder: Path) -> None:
    save_file({}, folder / FILE)
    with pytest.raises(ModuleFileError, match="no tensors in it"):
        load_module(folder)


def test_safetensors_wins_over_a_pickle(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"not even a zip")
    assert load_module(folder).file.name == FILE
    (folder / FILE).unlink()
    with pytest.raises(ModuleFileError, match="not in torch's zip format"):
        load_module(folder)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(MissingPathError, match=r"neither adapter_model.safetensors nor adapter_model.bin"):
        load_module(folder)


def test_unknown_settings_are_named(folder: Path) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"new_trick": 3}))
    with pytest.warns(EdgeLorahubWarning, match="unknown settings are ignored: new_trick"):
        load_module(folder)


def test_another_base_models_name_is_a_warning(folder: Path, bundle: Path) -> None:
    path = folder / "adapter_config.json"
    fields = json.loads(path.read_text())
    manifest = read_manifest(bundle)
    path.write_text(json.dumps(fields | {"base_model_name_or_path": "someone/Tiny"}))
    Modules.load([folder]).check(manifest)  # the same name but for the owner and capitals
    path.write_text(json.dumps(fields | {"base_model_name_or_path": "google/flan-t5-base"}))
    with pytest.warns(EdgeLorahubWarning, match="trained on 'google/flan-t5-base'.*: module"):
        Modules.load([folder]).check(manifest)


def test_folders_of_the_same_name_are_told_apart(folder: Path, tmp_path: Path) -> None:
    for task in ("a", "b"):
        shutil.copytree(folder, tmp_path / task / "checkpoint-10")
    with pytest.warns(EdgeLorahubWarning, match="byte for byte"):
        names = Modules.load([folder, *(tmp_path / task / "checkpoint-10" for task in ("a", "b"))]).names
    assert names == ["module", "a/checkpoint-10", "b/checkpoint-10"]
    with pytest.raises(SettingsError, match="the same module twice"):
        Modules.load([folder, str(folder) + "/."])
    with pytest.raises(SettingsError, match="no modules"):
        Modules.load([])
    with pytest.raises(SettingsError, match="two modules are called 'x'"):
        Modules([load_module(folder, name="x"), load_module(folder, name="x")])


def test_what_is_written_is_what_peft_reads(tmp_path: Path) -> None:
    """Tensors byte for byte by another reader, the scale in B, and ranks that differ in the patterns."""
    rng = np.random.default_rng(0)
    one = Lora(rng.standard_normal((4, 32), np.float32), rng.standard_normal((24, 4), np.float32), 0.5)
    other = Lora(rng.standard_normal((2, 32), np.float32), rng.standard_normal((24, 2), np.float32), 1.0)
    layers = [Q.removeprefix("base_model.model."), "decoder.block.1.layer.1.EncDecAttention.v"]
    write_peft(tmp_path, "tiny", dict(zip(layers, [one, other], strict=True)))
    tensors = load_file(tmp_path / FILE)
    np.testing.assert_array_equal(tensors[f"{Q}.lora_A.weight"], one.a)
    np.testing.assert_array_equal(tensors[f"{Q}.lora_B.weight"], one.b * 0.5)
    fields = json.loads((tmp_path / "adapter_config.json").read_text())
    assert fields["r"] == fields["lora_alpha"] == 4
    assert list(fields["rank_pattern"].values()) == list(fields["alpha_pattern"].values()) == [2]
    again = contents(tmp_path)
    assert [(lora.a.shape[0], lora.scale) for lora in (again[layer] for layer in layers)] == [(4, 1.0), (2, 1.0)]
