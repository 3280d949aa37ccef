"""A store that was damaged, changed, made up or cannot be written: refused by name, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from stores import left, names, objects

from edge_lorahub import Hub
from edge_lorahub.errors import NotWritableError, StoreError
from edge_lorahub.hub import index as index_file
from edge_lorahub.hub.index import INDEX, OBJECTS

Run = Callable[..., Result]
Fails = Callable[..., str]


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
    with pytest.raises(StoreError, match="version 3, but this program reads 2; update edge-lorahub"):
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
        return index_file.VERSION

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
