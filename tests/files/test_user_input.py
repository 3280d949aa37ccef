"""What is given from Python: other types, homes, revisions. One EdgeLorahubError each, never a TypeError."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_lorahub import Modules, load, load_adapter, read_examples
from edge_lorahub.errors import EdgeLorahubError, MissingPathError, SettingsError
from edge_lorahub.export import export
from edge_lorahub.inspection import inspect
from edge_lorahub.lora.loading import load_module


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 1.5}, {"limit": "1"}, {"limit": True}, {"limit": 0}, {"skip": "1"}, {"skip": None}, {"skip": -1},
        {"shuffle_seed": [1]}, {"shuffle_seed": 1.0}, {"shuffle_seed": "a"}, {"shuffle_seed": -1},
    ],
)  # fmt: skip
def test_numbers_of_examples_are_whole(tmp_path: Path, options: dict[str, object]) -> None:
    (tmp_path / "x.jsonl").write_text('{"input": "a", "output": "b"}\n' * 3)
    with pytest.raises(SettingsError, match=f"{next(iter(options))} must be (a whole number|at least)"):
        read_examples(tmp_path / "x.jsonl", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("sources", [[5], None, 5, [None], ["m", b"m"]])
def test_sources_of_modules_are_paths(sources: object) -> None:
    with pytest.raises(SettingsError, match="modules must be folders or Hub ids"):
        Modules.load(sources)  # type: ignore[arg-type]


def test_sources_of_modules_may_be_made_one_by_one(module_folders: list[Path]) -> None:
    assert Modules.load(folder for folder in module_folders).names == [folder.name for folder in module_folders]


@pytest.mark.parametrize("modules", ["m0", ["m0"], None, 5, [5]])
def test_modules_are_modules(modules: object) -> None:
    with pytest.raises(SettingsError, match="modules must be a list of Module"):
        Modules(modules)  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [read_examples, load, inspect, Modules.load, load_adapter, load_module])
@pytest.mark.parametrize("path", [5, None, 1.5, b"x"])
def test_no_path(read: Callable[[object], object], path: object) -> None:
    with pytest.raises(EdgeLorahubError):
        read(path)


def test_slots_are_a_list(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="slots must be a list of kinds of layers, got the text 'qv'"):
        export(checkpoint, tmp_path / "out", slots="qv")


@pytest.mark.parametrize("read", [read_examples, load, inspect, Modules.load, load_adapter])
def test_the_home_of_nobody(read: Callable[[str], object]) -> None:
    with pytest.raises(MissingPathError, match="~nobody-of-that-name/x: no such user"):
        read("~nobody-of-that-name/x")


@pytest.mark.parametrize("command", ["inspect", "generate", "export"])
def test_the_home_of_nobody_on_the_command_line(command: str, tmp_path: Path, fails: Callable[..., str]) -> None:
    more = {"inspect": (), "generate": ("text",), "export": (tmp_path / "out",)}[command]
    assert "~nobody-of-that-name: no such" in fails(command, "~nobody-of-that-name", *more)


def test_homes_from_python(
    checkpoint: Path, module_folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs and outputs alike."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    shutil.copytree(module_folders[0], tmp_path / "module")
    export("~/checkpoint", "~/out/bundle")
    load("~/out/bundle")
    load_adapter("~/module").save("~/out/adapter")
    assert inspect("~/out/adapter")["kind"] == "module"
    assert not (tmp_path / "~").exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["adapter", "bundle"]


def test_a_revision_of_a_local_folder_is_refused(
    checkpoint: Path, module_folders: list[Path], tmp_path: Path, fails: Callable[..., str]
) -> None:
    line = fails("export", checkpoint, tmp_path / "out", "--revision", "main")
    assert "a local folder, which has no revision main; leave the revision out" in line
    with pytest.raises(SettingsError, match="a local folder, which has no revision"):
        Modules.load(module_folders, revision="main")
    with pytest.raises(SettingsError, match="a local folder, which has no revision"):
        load_module(module_folders[0], revision="main")
