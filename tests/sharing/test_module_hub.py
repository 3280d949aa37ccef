"""The local store: what goes in comes out, and what was changed, lost or made up meanwhile is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from edge_lorahub import Hub, Modules
from edge_lorahub.bundle.manifest import read_manifest
from edge_lorahub.errors import EdgeLorahubError, NotWritableError, SettingsError, StoreError
from edge_lorahub.hub import index as index_file
from edge_lorahub.hub.entry import LONGEST_NAME, check_name
from edge_lorahub.hub.index import INDEX, OBJECTS
from edge_lorahub.testing.random_models import write_module

Run = Callable[..., Result]
Fails = Callable[..., str]


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "store")


@pytest.fixture
def stored(hub: Hub, module_folders: list[Path]) -> Hub:
    """The four modules, two of them with a tag."""
    hub.add(module_folders[:2], tags="even")
    hub.add(module_folders[2:])
    return hub


def objects(hub: Hub) -> list[str]:
    return sorted(os.listdir(hub.path / OBJECTS))


def left(hub: Hub) -> list[str]:
    return sorted(name for name in os.listdir(hub.path) if name not in (INDEX, OBJECTS))


def names(hub: Hub) -> list[str]:
    return [entry.name for entry in hub.list()]


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


def test_changed_files_are_refused_by_name_and_mended_by_adding_again(stored: Hub, module_folders: list[Path]) -> None:
    folder = stored.get("module-1").folder

    def tensors() -> None:
        data = bytearray((folder / "adapter_model.safetensors").read_bytes())
        data[-1] ^= 1
        (folder / "adapter_model.safetensors").write_bytes(data)

    def link() -> None:
        shutil.move(folder, stored.path / "elsewhere")
        folder.symlink_to(stored.path / "elsewhere")

    def linked_file() -> None:
        (folder / "adapter_config.json").unlink()
        (folder / "adapter_config.json").symlink_to(module_folders[1] / "adapter_config.json")

    changes: dict[Callable[[], object], str] = {
        tensors: "its adapter_model.safetensors is not what was added",
        lambda: (folder / "adapter_config.json").write_text("{}"): "its adapter_config.json is not what was added",
        lambda: (folder / "adapter_config.json").unlink(): "its adapter_config.json is gone",
        lambda: (folder / "README.md").write_text("x"): "it has 'README.md', which was not added",
        lambda: shutil.rmtree(folder): "its folder is not there",
        link: "is a link, or no folder",
        linked_file: "its adapter_config.json is gone, or no file",
    }
    for change, problem in changes.items():
        change()
        assert [*stored.verify()] == ["module-1"]
        assert problem in stored.verify()["module-1"]
        with pytest.raises(StoreError, match="module-1: not the module that was added"):
            stored.modules()
        assert stored.modules(["module-0"]).names == ["module-0"]
        stored.add(module_folders[1])
        assert stored.verify() == {}
        shutil.rmtree(stored.path / "elsewhere", ignore_errors=True)
    assert (module_folders[1] / "adapter_config.json").is_file()


def test_strangers_among_the_files_are_named_and_stay(stored: Hub) -> None:
    (stored.path / OBJECTS / "notes").mkdir()
    copy = shutil.copytree(stored.get("module-1").folder, stored.path / OBJECTS / ("a" * 64))
    assert stored.verify() == {f"{OBJECTS}/notes": "not in the index", f"{OBJECTS}/{'a' * 64}": "not in the index"}
    assert copy.is_dir()


def damage(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(";".join(statements))
    connection.close()


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "damaged"),
    "cut off at a page": (lambda path: path.write_bytes(path.read_bytes()[:4096]), "damaged"),
    "empty": (lambda path: path.write_bytes(b""), "gone or empty"),
    "gone": (lambda path: path.unlink(), "gone or empty"),
    "a text": (lambda path: path.write_text("my diary\n" * 1000), "damaged"),
    "noise in it": (lambda path: path.write_bytes(path.read_bytes()[:200] + os.urandom(9000)), "damaged"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "a link or no file"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "a link or no file"),
    "a link": (lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")), "a link or no file"),
    "newer": (lambda path: damage(path, "PRAGMA user_version = 99"), "version 99, but this program reads"),
    "another program's": (lambda path: damage(path, "PRAGMA application_id = 7"), "another program's database"),
    "without a table": (lambda path: damage(path, "DROP TABLE tags"), "damaged, with other tables"),
    "with a view": (lambda path: damage(path, "CREATE VIEW v AS SELECT 1"), "damaged, with other tables"),
    "with a trigger": (
        lambda path: damage(path, "CREATE TRIGGER t AFTER DELETE ON names BEGIN SELECT 1; END"), "other tables",
    ),
    "other columns": (lambda path: damage(path, "ALTER TABLE names RENAME COLUMN source TO sauce"), "damaged"),
    "a key outside": (lambda path: damage(path, "DELETE FROM names WHERE name != 'module-0'",
                                          "DELETE FROM objects WHERE key NOT IN (SELECT key FROM names)",
                                          "UPDATE names SET key = '../../../etc'",
                                          "UPDATE objects SET key = '../../../etc'"), "made to look like"),
    "a digest that is none": (lambda path: damage(path, "UPDATE objects SET sha256 = 'x'"), "made to look like"),
    "a number that is none": (lambda path: damage(path, "UPDATE objects SET size = 'much'"), "made to look like"),
    "a blob": (lambda path: damage(path, "UPDATE names SET source = x'ff'"), "made to look like"),
    "not UTF-8": (lambda path: damage(path, "UPDATE names SET source = CAST(x'ff' AS TEXT)"), "damaged"),
    "a tag outside": (lambda path: damage(path, "UPDATE tags SET tag = '../x' WHERE name = 'module-0'"), "path"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_damaged_index_is_one_line_and_nothing_is_changed(
    stored: Hub, fails: Fails, module_folders: list[Path], case: str
) -> None:
    change, line = HOSTILE[case]
    change(stored.path / INDEX)

    def contents() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in stored.path.rglob("*") if path.is_file()}

    before = contents()
    for arguments in (["list"], ["show", "module-0"], ["list", "--json"]):
        assert line in fails("hub", *arguments, "--store", stored.path)
        assert contents() == before
    if case not in ("other columns", "a digest that is none", "a number that is none", "a blob", "not UTF-8",
                    "a tag outside"):  # fmt: skip
        assert line in fails("hub", "add", module_folders[0], "--store", stored.path)
    assert len(objects(stored)) == 4


def test_a_name_that_no_command_takes_is_a_damaged_index(stored: Hub, fails: Fails) -> None:
    damage(stored.path / INDEX, "UPDATE names SET name = '../x' WHERE name = 'module-0'")
    assert "looks like a path: '../x'" in fails("hub", "list", "--store", stored.path)


@pytest.mark.parametrize("files", ["../../x", "x"])
def test_files_of_another_name_are_not_looked_for(stored: Hub, files: str) -> None:
    damage(stored.path / INDEX, f"UPDATE files SET name = '{files}' WHERE name = 'adapter_config.json'")
    for call in (stored.modules, stored.verify):
        with pytest.raises(StoreError, match="made to look like an index"):
            call()


def test_notes_that_name_something_outside_remove_nothing(stored: Hub, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    damage(stored.path / INDEX, "INSERT INTO unsettled VALUES ('../../mine', '')")
    with pytest.raises(StoreError, match="made to look like an index"):
        stored.remove("module-0")
    key = stored.get("module-0").folder.name
    damage(stored.path / INDEX, f"UPDATE unsettled SET key = '{key}', work = '../../mine'")
    stored.remove("module-1")
    assert (tmp_path / "mine").is_dir()
    assert stored.modules(["module-0"])


def test_an_older_index_is_brought_forward(stored: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    added = (*index_file.MIGRATIONS, ("ALTER TABLE names ADD COLUMN note TEXT", "CREATE TABLE more (a) STRICT"[:22]))
    monkeypatch.setattr(index_file, "MIGRATIONS", added)
    monkeypatch.setattr(index_file, "VERSION", len(added))
    monkeypatch.setattr(index_file, "TABLES", index_file.TABLES | {"more"})
    assert len(names(stored)) == 4
    monkeypatch.undo()
    with pytest.raises(StoreError, match="version 2, but this program reads 1; update edge-lorahub"):
        names(stored)


def test_a_folder_without_locks_can_be_listed(stored: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some network folders are."""
    connect = index_file._connect
    modes = []

    def unlocked(store: Path, mode: str) -> sqlite3.Connection:
        modes.append(mode)
        return connect(store, mode)

    def version(connection: sqlite3.Connection, store: Path) -> int:
        if modes[-1] == "rw":
            raise sqlite3.OperationalError("disk I/O error")
        return 1

    monkeypatch.setattr(index_file, "_connect", unlocked)
    monkeypatch.setattr(index_file, "_version", version)
    assert len(names(stored)) == 4
    assert modes == ["rw", "ro&nolock=1"]


def test_a_folder_of_modules_that_is_a_link_is_not_followed(
    stored: Hub, fails: Fails, module_folders: list[Path], tmp_path: Path
) -> None:
    (stored.path / OBJECTS).rename(tmp_path / "elsewhere")
    (stored.path / OBJECTS).symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    at = ("--store", stored.path)
    assert "a link or no folder" in fails("hub", "add", module_folders[0], "--name", "new", *at)
    with pytest.raises(StoreError, match="not the module that was added"):
        stored.modules()
    stored.remove("module-0")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_that_is_not_there_is_empty(tmp_path: Path, run: Run, fails: Fails) -> None:
    store = tmp_path / "nothing"
    assert run("hub", "list", "--store", store).stdout == f"no modules in {store}\n"
    assert json.loads(run("hub", "list", "--store", store, "--json").stdout) == []
    assert run("hub", "verify", "--store", store).exit_code == 0
    assert "not in the store" in fails("hub", "show", "x", "--store", store)
    assert "not in the store" in fails("hub", "remove", "x", "--store", store)
    assert not store.exists()
    (tmp_path / "file").write_text("x")
    assert "a file, where the store's folder was expected" in fails("hub", "list", "--store", tmp_path / "file")
    assert "empty text" in fails("hub", "list", "--store", "")


@pytest.fixture
def read_only(stored: Hub) -> Iterator[Hub]:
    """The store in a file system that is mounted to be read alone."""
    try:
        subprocess.run(["mount", "--bind", stored.path, stored.path], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", stored.path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield stored
    subprocess.run(["umount", stored.path], check=True)


def test_a_store_that_can_only_be_read(read_only: Hub, module_folders: list[Path], run: Run, fails: Fails) -> None:
    assert len(names(read_only)) == 4
    assert len(read_only.modules()) == 4
    assert read_only.verify() == {}
    assert run("hub", "list", "--store", read_only.path).exit_code == 0
    for arguments in (["add", module_folders[0], "--name", "new"], ["remove", "module-0"]):
        assert "no permission to write it" in fails("hub", *arguments, "--store", read_only.path)
    with pytest.raises(NotWritableError):
        read_only.add(module_folders[0], name="new")


def test_a_full_disk(module_folders: list[Path], tmp_path: Path, fails: Fails, run: Run) -> None:
    """One line, at any moment; what was stored before stays, and the command can be repeated."""
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        hub, filler = Hub(disk / "store"), disk / "filler"
        hub.add(module_folders[0])
        before = shutil.disk_usage(disk).free
        hub.add(module_folders[1:])
        taken = before - shutil.disk_usage(disk).free
        for folder in module_folders[1:]:
            hub.remove(folder.name)
        for share in (0.0, 0.1, 0.3, 0.6, 0.9):
            filler.write_bytes(bytes(shutil.disk_usage(disk).free - int(share * taken)))
            line = fails("hub", "add", *module_folders[1:], "--store", hub.path)
            assert "No space left" in line or "disk is full" in line, line
            filler.unlink()
            assert (names(hub), left(hub)) == (["module-0"], [])
            assert hub.verify() == {}
        assert run("hub", "add", *module_folders, "--store", hub.path).exit_code == 0
        assert len(names(hub)) == 4
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_command_line(run: Run, fails: Fails, module_folders: list[Path], bundle: Path, tmp_path: Path) -> None:
    at = ("--store", tmp_path / "store")
    added = run("hub", "add", "--modules", module_folders[0].parent, "--tag", "mine", *at)
    assert [line.rpartition(" ")[0] for line in added.stdout.splitlines()] == [
        f"added: module-{number}" for number in range(4)
    ]
    again = run("hub", "add", module_folders[0], "--json", *at)
    assert json.loads(again.stdout)[0]["new"] is False
    run("hub", "add", write_module(tmp_path / "large", "t5-small", seed=1, rank=2), *at)
    listed = run("hub", "list", "--fits", bundle, *at)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["name", *(f"module-{n}" for n in range(4))]
    assert listed.stderr.startswith("does not fit: large: ")
    assert json.loads(run("hub", "list", "--tag", "mine", "--json", *at).stdout)[0]["name"] == "module-0"
    assert run("hub", "list", "--base", "other", *at).stdout.startswith("no modules of these in")
    shown = json.loads(run("hub", "show", "module-2", "--json", *at).stdout)
    assert (shown["ranks"], shown["tags"]) == (["4"], ["mine"])
    assert f"folder       {shown['folder']}" in run("hub", "show", "module-2", *at).stdout
    assert run("hub", "verify", *at).stdout == "5 modules: all files match their digests\n"
    assert "module-7: not in the store" in fails("hub", "remove", "module-0", "module-7", *at)
    assert run("hub", "remove", "module-0", "large", *at).stdout == "removed: module-0\nremoved: large\n"
    (Path(shown["folder"]) / "adapter_config.json").write_text("{}")
    ended = run("hub", "verify", *at)
    assert ended.exit_code == 2
    assert ended.stderr.splitlines()[0] == "module-2: its adapter_config.json is not what was added"
    two = run("hub", "add", module_folders[0], tmp_path, *at)
    assert two.exit_code == 2
    assert two.stdout.startswith("added: module-0")
    assert two.stderr.splitlines()[-1] == "Error: 1 of 2 modules not added, for the reasons above"


def test_adapt_takes_modules_of_the_store(
    run: Run, fails: Fails, bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    """The same weights as with the folders; and what was learned is a module like any other."""
    at = ("--hub", "--store", tmp_path / "store")
    hub = Hub(tmp_path / "store")
    hub.add(module_folders[:3], tags="few")
    hub.add(write_module(tmp_path / "large", "t5-small", seed=1, rank=2))
    hub.add(write_module(tmp_path / "other", "tiny", seed=1, rank=2, base_model_name_or_path="me/other"))
    adapt = ("adapt", bundle, examples_file, "--budget", 12, "--no-answers", "--json")
    plain = json.loads(run(*adapt, "-m", module_folders[0], "-m", module_folders[1], "-m", module_folders[2],
                           "--out", tmp_path / "plain").stdout)  # fmt: skip
    ended = run(*adapt, *at, "--out", tmp_path / "out")
    stored = json.loads(ended.stdout)
    assert (stored["weights"], stored["trace"]) == (plain["weights"], plain["trace"])
    assert ended.stderr.startswith("Warning: left out of 5 modules in ")
    hub.tag(["other"], "chosen")
    with_warning = run(*adapt, *at, "--tag", "chosen", "--out", tmp_path / "chosen")
    assert [*json.loads(with_warning.stdout)["weights"]] == ["other"]
    assert "Warning: trained on 'me/other', says adapter_config.json, but the bundle is of 'tiny'" in (
        with_warning.stderr
    )
    mixed = json.loads(run(*adapt, "-m", module_folders[3], *at, "--tag", "few", "--count", 2, "--seed", 1,
                           "--out", tmp_path / "mixed").stdout)  # fmt: skip
    assert len(mixed["weights"]) == 3
    assert {*mixed["weights"]} - {"module-3"} == {*hub.modules(tags="few", count=2, seed=1).names}
    nowhere = ("--out", tmp_path / "x")
    assert "--tag: of the local store's modules; give --hub too" in fails(*adapt, "--tag", "few", *nowhere)
    assert "no module with the tags no" in fails(*adapt, *at, "--tag", "no", *nowhere)
    assert "two modules are called 'module-0'" in fails(*adapt, "-m", module_folders[0], *at, *nowhere)
    assert run("hub", "add", tmp_path / "out", "--name", "learned", *at[1:]).exit_code == 0
    parts = json.loads(run("hub", "show", "learned", "--json", *at[1:]).stdout)["parts"]
    assert {part["name"]: part["weight"] for part in parts} == {n: w for n, w in stored["weights"].items() if w}
    assert [part["stored_as"] for part in parts] == [[part["name"]] for part in parts]
    composed = json.loads(run(*adapt, *at, "--out", tmp_path / "next").stdout)
    assert "learned" in composed["weights"]
    (hub.get("module-1").folder / "adapter_config.json").write_text("{}")
    line = fails(*adapt, *at, "--tag", "few", *nowhere)
    assert "module-1: not the module that was added" in line
    assert not (tmp_path / "x").exists()


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


def test_a_list_needs_no_arrays(stored: Hub) -> None:
    code = "import sys; from edge_lorahub.cli.main import run; sys.argv[0] = 'edge-lorahub'\ntry: run()\nfinally: " \
        "print([name for name in ('numpy', 'onnxruntime', 'safetensors', 'rich') if name in sys.modules])"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, "hub", "list", "--store", str(stored.path)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
