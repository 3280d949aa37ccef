"""The local store from Python: what goes in comes out, under names that could be files'."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from stores import left, names, objects

from edge_lorahub import Hub, Modules
from edge_lorahub.bundle.manifest import read_manifest
from edge_lorahub.errors import EdgeLorahubError, SettingsError, StoreError
from edge_lorahub.hub.entry import LONGEST_NAME, check_name
from edge_lorahub.testing.random_models import write_module

Run = Callable[..., Result]
Fails = Callable[..., str]


def test_what_goes_in_comes_out(stored: Hub, module_folders: list[Path]) -> None:
    expected = {module.name: module for module in Modules.load(module_folders)}
    assert names(stored) == sorted(expected)
    for module in stored.modules():
        other = expected[module.name]
        assert module.sha256 == other.sha256 == stored.get(module.name).sha256
        assert module.shapes == other.shapes == stored.shapes(stored.get(module.name))
        for (layer, lora), (_, wanted) in zip(module.loras(), other.loras(), strict=True):
            np.testing.assert_array_equal(lora.scaled_b() @ lora.a, wanted.scaled_b() @ wanted.a, layer)
    entry = stored.get("module-3")
    assert (entry.kind, entry.base_model, entry.ranks, entry.layer_kinds) == ("module", "tiny", "3", "q,v")
    assert entry.source == str(module_folders[3])
    assert stored.verify() == {}
    assert left(stored) == []


def test_folders_of_the_store_are_folders_of_modules(stored: Hub) -> None:
    assert Modules.load([entry.folder for entry in stored.list()])[0].sha256 == stored.list()[0].sha256


def test_the_same_content_twice_is_stored_once(hub: Hub, module_folders: list[Path], tmp_path: Path) -> None:
    """Also where the numbers were written otherwise. Another base model is something else that a module says."""
    hub.add(module_folders[0], name="one")
    hub.add(module_folders[0], name="two")
    again = shutil.copytree(module_folders[0], tmp_path / "again")
    tensors = load_file(again / "adapter_model.safetensors")
    save_file({name: array.astype(np.float64) for name, array in tensors.items()}, again / "adapter_model.safetensors")
    assert (again / "adapter_model.safetensors").read_bytes() != (
        module_folders[0] / "adapter_model.safetensors"
    ).read_bytes()
    hub.add(again, name="three")
    assert len(objects(hub)) == 1
    settings = json.loads((again / "adapter_config.json").read_text())
    (again / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "other"}))
    hub.add(again, name="four")
    assert len(objects(hub)) == 2
    assert [hub.get(name).base_model for name in ("three", "four")] == ["tiny", "other"]
    assert len({entry.sha256 for entry in hub.list()}) == 1
    for name in ("one", "two"):
        hub.remove(name)
    assert len(objects(hub)) == 2
    hub.remove("three")
    hub.remove("four")
    assert (names(hub), objects(hub), left(hub)) == ([], [], [])


def test_a_name_stands_for_one_module(stored: Hub, module_folders: list[Path]) -> None:
    again = stored.add(module_folders[0], tags=["again", "even"])
    assert again[0].tags == ("again", "even")
    with pytest.raises(StoreError, match="module-0: in the store already, with other contents"):
        stored.add(module_folders[1], name="module-0")
    assert len(names(stored)) == 4
    with pytest.raises(StoreError, match="module-9: not in the store"):
        stored.get("module-9")
    with pytest.raises(StoreError, match="module-9: not in the store"):
        stored.remove("module-9")


def test_one_of_many_that_is_no_module_does_not_hinder_the_others(
    hub: Hub, module_folders: list[Path], tmp_path: Path
) -> None:
    bad = shutil.copytree(module_folders[0], tmp_path / "bad")
    (bad / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(StoreError, match=r"1 of 5 modules were not added; the first: .*bad"):
        hub.add([*module_folders[:2], bad, *module_folders[2:]])
    assert len(names(hub)) == 4
    with pytest.raises(EdgeLorahubError, match="not a complete safetensors file"):
        hub.add(bad)
    with pytest.raises(SettingsError, match="would both be called 'module-0'"):
        hub.add([module_folders[0], shutil.copytree(module_folders[0], tmp_path / "x" / "module-0")])
    assert left(hub) == []


@pytest.mark.parametrize("base", ["x" * 5000, "half \ud800"])
def test_a_text_that_no_index_holds_is_refused_with_its_module(
    stored: Hub, module_folders: list[Path], tmp_path: Path, base: str
) -> None:
    """And does not make the whole index unreadable."""
    folder = shutil.copytree(module_folders[0], tmp_path / "long")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": base}))
    with pytest.raises(EdgeLorahubError, match="long: cannot be in a store's index: its base model: "):
        stored.add(folder)
    assert len(names(stored)) == 4


def test_arguments_of_other_types_are_refused(stored: Hub) -> None:
    for call in (
        lambda: stored.add(5), lambda: stored.add([5]), lambda: stored.add("x", tags=5), lambda: stored.list(tags=5),
        lambda: stored.list(tags=[5]), lambda: stored.list(fits=5), lambda: stored.get(5), lambda: stored.remove(None),
        lambda: stored.modules(5), lambda: stored.modules([None]), lambda: stored.modules(count="x"),
        lambda: stored.modules(count=0), lambda: stored.modules(count=2, seed=-1), lambda: Hub(5), lambda: Hub(""),
        lambda: stored.add([]), lambda: stored.add(["a", "b"], name="c"),
    ):  # fmt: skip
        with pytest.raises(SettingsError):
            call()


def test_choices(stored: Hub, bundle: Path, tmp_path: Path) -> None:
    stored.add(write_module(tmp_path / "large", "t5-small", seed=1, rank=2))
    stored.add(write_module(tmp_path / "named", "tiny", seed=2, rank=2, base_model_name_or_path="me/Tiny-fp16"))
    everything = ["large", "module-0", "module-1", "module-2", "module-3", "named"]
    assert names(stored) == everything
    assert [entry.name for entry in stored.list(tags=["even"])] == ["module-0", "module-1"]
    assert [entry.name for entry in stored.list(tags=["even", "odd"])] == []
    assert [entry.name for entry in stored.list(base="google/tiny")] == everything[1:]
    assert [entry.name for entry in stored.list(fits=bundle)] == everything[1:]
    drawn = stored.modules(fits=bundle, count=3, seed=5).names
    assert drawn == stored.modules(fits=bundle, count=3, seed=5).names
    assert len(set(drawn)) == 3
    assert stored.modules(["module-2", "module-0"]).names == ["module-2", "module-0"]
    with pytest.raises(StoreError, match="there are 2 to draw from, and 3 were asked for"):
        stored.modules(tags="even", count=3)
    with pytest.raises(StoreError, match="no such modules"):
        stored.modules(tags="odd")


def test_a_draw_reads_the_files_of_no_others(stored: Hub) -> None:
    chosen = stored.modules(count=2, seed=3).names
    for name in {*names(stored)} - {*chosen}:
        shutil.rmtree(stored.get(name).folder)
    assert stored.modules(count=2, seed=3).names == chosen


@pytest.mark.parametrize(
    "name",
    ["", " ", "a/b", "a\\b", "..", ".hidden", "a..b", "a\nb", "a\x00", "a\u202eb", "-x", " a", "x" * 201, "é" * 150,
     "\u0958" * 66, "\ud800"],  # 66: of 198 bytes, and of 396 in the form that is kept
)  # fmt: skip
def test_names_that_are_refused(hub: Hub, module_folders: list[Path], name: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SettingsError, match="a module's name"):
        hub.add(module_folders[0], name=name)
    with pytest.raises(SettingsError, match="a tag"):
        hub.add(module_folders[0], tags=[name])
    assert sorted(tmp_path.rglob("*")) == before


@given(st.text())
def test_a_name_that_is_taken_could_be_a_files(name: str) -> None:
    try:
        taken = check_name(name)
    except SettingsError:
        return
    assert taken == unicodedata.normalize("NFC", name)
    assert os.path.basename(taken) == taken
    assert 0 < len(taken.encode()) <= LONGEST_NAME
    assert check_name(taken) == taken


def test_what_is_removed_meanwhile(stored: Hub, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks into the index."""
    entries = stored.list()
    for entry in entries:
        stored.remove(entry.name)
    assert set(stored.misfits(entries, read_manifest(bundle)).values()) == {"removed meanwhile"}
    with pytest.raises(StoreError, match=r"not in the store .* any more"):
        stored.shapes(entries[0])
    monkeypatch.setattr(Hub, "get", lambda hub, name: entries[0])
    with pytest.raises(StoreError, match=r"not in the store .* any more"):
        stored.tag([entries[0].name], ["t"])
