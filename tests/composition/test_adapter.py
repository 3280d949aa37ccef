"""Finished adapters: saved, truncated, loaded again and baked into the weights."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scores import score

from edge_lorahub import Example, Model, Modules, Settings, adapt, bake, generate, load, load_adapter
from edge_lorahub.bundle.manifest import read_manifest
from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.composition.inputs import LoraInputs
from edge_lorahub.composition.stack import COMPOSITIONS, plain_inputs
from edge_lorahub.errors import (
    BundleError,
    EdgeLorahubWarning,
    ModuleFileError,
    ModuleMismatchError,
    OutputExistsError,
    SettingsError,
)
from edge_lorahub.files.outputs import sha256
from edge_lorahub.inspection import inspect
from edge_lorahub.lora.loading import load_module
from edge_lorahub.lora.pair import Lora
from edge_lorahub.runtime.binding import Runner


@pytest.fixture(params=COMPOSITIONS)
def adapter(request: pytest.FixtureRequest, model: Model, modules: Modules, examples: list[Example]) -> Adapter:
    return adapt(model, modules, examples, Settings(budget=15, composition=request.param)).adapter


def sums(model: Model, inputs: LoraInputs, examples: list[Example]) -> np.ndarray:
    return score(Runner(model, "score", inputs), examples, 2048, 256).sums


def test_its_files_may_be_read_by_whom_others_may(module_folders: list[Path], tmp_path: Path) -> None:
    load_adapter(module_folders[0]).save(tmp_path / "out")
    (tmp_path / "other").touch()
    assert {file.stat().st_mode for file in (tmp_path / "out").iterdir()} == {(tmp_path / "other").stat().st_mode}


def test_saved_and_loaded_it_is_the_same(
    adapter: Adapter, model: Model, examples: list[Example], tmp_path: Path
) -> None:
    adapter.save(tmp_path / "out")
    again = load_adapter(tmp_path / "out", model.manifest)
    expected = sums(model, adapter.inputs(model.manifest), examples)
    np.testing.assert_array_equal(sums(model, again.inputs(model.manifest), examples), expected)
    with pytest.raises(OutputExistsError, match="--force"):
        adapter.save(tmp_path / "out")
    adapter.save(tmp_path / "out", force=True)


def test_the_file_has_pefts_names_and_orientation(adapter: Adapter, model: Model, tmp_path: Path) -> None:
    adapter.save(tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    for slot in model.manifest.slots:
        a, b = (tensors[f"base_model.model.{slot.name}.lora_{side}.weight"] for side in "AB")
        assert a.shape[1:] == (slot.d_in,)
        assert b.shape == (slot.d_out, len(a))
    assert (tmp_path / "out" / "adapter_model.safetensors").stat().st_mode & 0o044  # others may read it


def test_baked_in_it_answers_the_same(
    adapter: Adapter, bundle: Path, model: Model, examples: list[Example], tmp_path: Path
) -> None:
    before = sha256(bundle / "weights.bin")
    manifest = bake(bundle, adapter, tmp_path / "baked")
    baked = load(tmp_path / "baked", threads=1)
    expected = sums(model, adapter.inputs(model.manifest), examples)
    np.testing.assert_allclose(sums(baked, plain_inputs(manifest.slots), examples), expected, rtol=1e-5)
    assert manifest.sha256["weights.bin"] == sha256(tmp_path / "baked" / "weights.bin") != before
    assert sha256(bundle / "weights.bin") == before
    assert read_manifest(tmp_path / "baked") == manifest


@pytest.mark.filterwarnings("ignore:rank . loses")
def test_truncated_to_a_rank(adapter: Adapter, model: Model, examples: list[Example]) -> None:
    expected = sums(model, adapter.inputs(model.manifest), examples)
    full, error = adapter.truncated(64)
    assert error == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(sums(model, full.inputs(model.manifest), examples), expected, rtol=1e-4)
    errors = []
    for rank in (1, 2, 4):
        small, error = adapter.truncated(rank)
        assert max(r for r, _, _ in small.shapes.values()) == rank
        assert small.record.truncation.rank == rank
        assert small.record.truncation.relative_error == error
        errors.append(error)
    assert 1 > errors[0] > errors[1] > errors[2]
    with pytest.raises(SettingsError, match="rank must be at least 1"):
        adapter.truncated(0)


def test_truncations_error_is_that_of_the_deltas(adapter: Adapter) -> None:
    with pytest.warns(EdgeLorahubWarning, match="rank 2 loses"):
        small, error = adapter.truncated(2)
    squares = [
        (np.sum((one.b @ one.a * one.scale - other.b @ other.a) ** 2), np.sum((one.b @ one.a * one.scale) ** 2))
        for one, other in zip(adapter.pairs.values(), small.pairs.values(), strict=True)
    ]
    assert error == pytest.approx(np.sqrt(sum(s for s, _ in squares) / sum(w for _, w in squares)), rel=1e-3)


def test_a_truncation_that_loses_much_is_warned_about(adapter: Adapter) -> None:
    with pytest.warns(EdgeLorahubWarning, match=r"rank 1 loses \d\d% of the adapter's change.*; try a higher rank"):
        adapter.truncated(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapter.truncated(64)


def test_what_is_not_finite_is_not_saved(adapter: Adapter, tmp_path: Path) -> None:
    layer, lora = next(iter(adapter.pairs.items()))
    broken = replace(adapter, name="broken", pairs={**adapter.pairs, layer: replace(lora, scale=1e39)})
    for refused in (lambda: broken.save(tmp_path / "out"), lambda: broken.truncated(2)):
        with pytest.raises(ModuleFileError, match=r"broken: .*lora_B times its scale"):
            refused()
    assert not (tmp_path / "out").exists()


def test_what_is_baked_in_is_written_down(
    adapter: Adapter, bundle: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    adapter.save(tmp_path / "task")
    bake(bundle, load_adapter(tmp_path / "task"), tmp_path / "once")
    manifest = bake(tmp_path / "once", load_adapter(module_folders[0]), tmp_path / "twice")
    assert read_manifest(tmp_path / "twice") == manifest
    assert [(baked.name, baked.sha256) for baked in manifest.baked] == [
        ("task", adapter.sha256),
        ("module-0", load_module(module_folders[0]).sha256),
    ]
    assert inspect(tmp_path / "twice")["baked in"] == "task, module-0"
    assert "baked in" not in inspect(bundle)


def test_an_adapter_that_is_baked_in_already_is_warned_about(
    bundle: Path, module_folders: list[Path], examples: list[Example], tmp_path: Path
) -> None:
    bake(bundle, load_adapter(module_folders[0]), tmp_path / "baked")
    baked = load(tmp_path / "baked", threads=1)
    twin = shutil.copytree(module_folders[0], tmp_path / "twin")
    words = "twin: baked into this bundle already as 'module-0', so its change counts twice"
    for use in (
        lambda: generate(baked, ["w3"], adapter=load_adapter(twin)),
        lambda: bake(tmp_path / "baked", load_adapter(twin), tmp_path / "again"),
        lambda: adapt(baked, Modules.load([twin]), examples, Settings(budget=1)),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            use()
        assert [words in str(warning.message) for warning in caught].count(True) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generate(baked, ["w3"], adapter=load_adapter(module_folders[1]))


def test_a_bake_beyond_float32_is_refused(bundle: Path, model: Model, tmp_path: Path) -> None:
    slot = model.manifest.slots[0]
    large = Lora(np.full((1, slot.d_in), 1e30, np.float32), np.full((slot.d_out, 1), 1e30, np.float32), 1.0)
    with pytest.raises(
        ModuleFileError, match=f"{slot.name}: with large in it, the weight has numbers that are not fin"
    ):
        bake(bundle, Adapter("large", "tiny", {slot.name: large}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_path_of_the_base_model_is_not_given_away(adapter: Adapter, tmp_path: Path) -> None:
    replace(adapter, base_model="/home/someone/flan").save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == "flan"


def test_an_adapter_for_another_bundle_is_refused(adapter: Adapter, checkpoint: Path, tmp_path: Path) -> None:
    from edge_lorahub.export import export

    manifest = export(checkpoint, tmp_path / "only-q", slots=["q"])
    with pytest.raises(ModuleMismatchError, match=r"\.v is not a slot.*--slots q,v"):
        adapter.inputs(manifest)


def test_baking_into_a_damaged_bundle_is_refused(adapter: Adapter, checkpoint: Path, tmp_path: Path) -> None:
    from edge_lorahub.export import export

    export(checkpoint, tmp_path / "bundle")
    weights = tmp_path / "bundle" / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:10_000])
    with pytest.raises(BundleError, match=r"weights\.bin: not what the manifest says"):
        bake(tmp_path / "bundle", adapter, tmp_path / "baked")
    assert not (tmp_path / "baked").exists()
