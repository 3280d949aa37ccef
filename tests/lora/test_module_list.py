"""List files of modules: a path or Hub id a line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edge_lorahub import Hub
from edge_lorahub.errors import SettingsError
from edge_lorahub.lora.module_list import module_list


@pytest.fixture
def folder(module_folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder is empty; beside it lies one with modules and a list."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for number in range(2):
        shutil.copytree(module_folders[number], tmp_path / "lists" / f"m {number}#1")
    return tmp_path / "lists"


def test_lines(folder: Path, module_folders: list[Path]) -> None:
    path = folder / "list.txt"
    lines = [
        "\ufeff# mine",
        "",
        "  m 0#1  # a comment\r",
        f"{folder}/m 1#1",
        "owner/name\t# on the Hub",
        module_folders[2],
    ]
    path.write_bytes("\n".join(map(str, lines)).encode())
    assert module_list(path) == [folder / "m 0#1", folder / "m 1#1", "owner/name", module_folders[2].resolve()]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("m 0#1\nm 0#1\n", "line 2: m 0#1 is in line 1 already"),
        ("m 0#1\n./m 0#1\n", r"line 2: \./m 0#1 is in line 1 already"),
        ("a/b\n# x\na/b\n", "line 3: a/b is in line 1 already"),
        ("m 7\n", "line 1: 'm 7' is neither here nor a Hub id"),
        ("name\n", "line 1: 'name' is neither here nor a Hub id"),
        ("~nobody-of-this-name/x\n", "line 1: .* is neither here nor a Hub id"),
        ("x" * 5000 + "\n", "line 1: .* is neither here nor a Hub id"),
        ("a\x00b\n", "line 1: .* is neither here nor a Hub id"),
        ("# nothing\n\n", "no line with a module's path or Hub id in it"),
        ("", "no line with"),
    ],
)
def test_lists_that_are_refused(folder: Path, text: str, line: str) -> None:
    (folder / "list").write_text(text)
    with pytest.raises(SettingsError, match=line):
        module_list(folder / "list")


def test_noise_is_no_list(folder: Path) -> None:
    (folder / "list").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="not UTF-8"):
        module_list(folder / "list")


def test_a_path_in_two_places(folder: Path) -> None:
    shutil.copytree(folder / "m 0#1", Path("m 0#1"))
    (folder / "list").write_text("m 0#1\n")
    with pytest.raises(SettingsError, match="is in the working folder and beside the list; write the whole path"):
        module_list(folder / "list")


def test_commands_take_lists(
    folder: Path,
    run: Callable[..., Result],
    fails: Callable[..., str],
    bundle: Path,
    examples_file: Path,
    tmp_path: Path,
) -> None:
    (folder / "list.txt").write_text("m 0#1\nm 1#1\n")
    adapted = run("adapt", bundle, examples_file, "--modules", folder / "list.txt", "--budget", 4, "--no-answers",
                  "--json", "--out", tmp_path / "out")  # fmt: skip
    assert [*json.loads(adapted.stdout)["weights"]] == ["m 0#1", "m 1#1"]
    assert run("hub", "add", "--modules", folder / "list.txt", "--store", tmp_path / "store").exit_code == 0
    assert len(Hub(tmp_path / "store").list()) == 2
    line = fails("adapt", bundle, examples_file, "--modules", folder / "none.txt", "--out", tmp_path / "x")
    assert "none.txt: no such folder of modules, and no list of them" in line
