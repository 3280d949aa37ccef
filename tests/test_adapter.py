"""Finished adapters: saved, truncated, loaded again and baked into the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scores import score

from edge_lorahub import Example, Model, Modules, Settings, adapt, bake, load, load_adapter
from edge_lorahub.adapter import Adapter
from edge_lorahub.contract import read_manifest
from edge_lorahub.errors import BundleError, ModuleMismatchError, OutputExistsError, SettingsError
from edge_lorahub.files import sha256
from edge_lorahub.lora_inputs import LoraInputs
from edge_lorahub.runs import Runner
from edge_lorahub.stack import COMPOSITIONS, plain_inputs


@pytest.fixture(params=COMPOSITIONS)
def adapter(request: pytest.FixtureRequest, model: Model, modules: Modules, examples: list[Example]) -> Adapter:
    return adapt(model, modules, examples, Settings(budget=15, composition=request.param)).adapter


def sums(model: Model, inputs: LoraInputs, examples: list[Example]) -> np.ndarray:
    return score(Runner(model, inputs), examples, 2048, 256).sums


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


def test_truncated_to_a_rank(adapter: Adapter, model: Model, examples: list[Example]) -> None:
    expected = sums(model, adapter.inputs(model.manifest), examples)
    full, error = adapter.truncated(64)
    assert error == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(sums(model, full.inputs(model.manifest), examples), expected, rtol=1e-4)
    errors = []
    for rank in (1, 2, 4):
        small, error = adapter.truncated(rank)
        assert max(r for r, _, _ in small.shapes.values()) == rank
        assert small.record["truncation"]["rank"] == rank
        assert small.record["truncation"]["relative_error"] == error
        errors.append(error)
    assert 1 > errors[0] > errors[1] > errors[2]
    with pytest.raises(SettingsError, match="rank must be at least 1"):
        adapter.truncated(0)


def test_truncations_error_is_that_of_the_deltas(adapter: Adapter) -> None:
    small, error = adapter.truncated(2)
    squares = [
        (np.sum((one.b @ one.a * one.scale - other.b @ other.a) ** 2), np.sum((one.b @ one.a * one.scale) ** 2))
        for one, other in zip(adapter.pairs.values(), small.pairs.values(), strict=True)
    ]
    assert error == pytest.approx(np.sqrt(sum(s for s, _ in squares) / sum(w for _, w in squares)), rel=1e-3)


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
