"""What the command line prints, where it cannot print, and where there is nothing to read: one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_lorahub import cli
from edge_lorahub.cli.printable import one_line, printable

COMMAND = [sys.executable, "-m", "edge_lorahub"]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="a shell's redirections")


def shell(line: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command with the shell's redirections; "$@" is edge-lorahub with the arguments."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(["sh", "-c", line, "sh", *command], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('"$@" <&-', "standard input is closed"),
        ('"$@" </dev/null', "standard input: no texts"),
        ('"$@" w3 >&-', "standard output is closed"),
        ('"$@" w3 >/dev/full', "No space left on device"),
        ('"$@" --json w3 >/dev/full', "No space left on device"),
    ],
)
def test_streams_that_are_closed_or_full(bundle: Path, line: str, words: str) -> None:
    done = shell(line, "generate", bundle, "--threads", 1)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["inspect", "BUNDLE"], ["inspect", "MODULE"], ["demo", "--list"]]
)
def test_every_output_to_a_full_disk(bundle: Path, module_folders: list[Path], arguments: list[str]) -> None:
    known = {"BUNDLE": bundle, "MODULE": module_folders[0]}
    done = shell('"$@" >/dev/full', *(known.get(argument, argument) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == ["Error: standard output: No space left on device"] or (
        len(done.stderr.splitlines()) == 1 and "No space left on device" in done.stderr
    )


def test_an_error_without_a_place_for_it(tmp_path: Path) -> None:
    assert shell('"$@" 2>&-', "inspect", tmp_path).returncode == 2
    assert shell('"$@" 2>/dev/full', "inspect", tmp_path).returncode == 2


def test_nobody_reads_on(bundle: Path) -> None:
    done = shell('"$@" | true', "inspect", bundle)
    assert done.stderr == ""


def test_control_characters_are_spelled_out() -> None:
    for text, shown in (
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("\u2028", r"\u2028"),
        ("\ud800", r"\ud800"),
        ("naïve 日本 \U0001f468\u200d\U0001f469", "naïve 日本 \U0001f468\u200d\U0001f469"),
    ):
        assert printable(text) == shown
    assert printable("a\n\tb", lines=True) == "a\n\tb"
    assert one_line("a\n\x1b]0;b") == r"a \x1b]0;b"


def test_control_characters_of_files_do_not_reach_the_terminal(
    bundle: Path, module_folders: list[Path], tmp_path: Path, run: Callable[..., object], fails: Callable[..., str]
) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m"
    module = Path(shutil.copytree(module_folders[0], tmp_path / "module"))
    settings = json.loads((module / "adapter_config.json").read_text())
    (module / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": evil, evil: 1}))
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["model"] |= {"base_model": evil, "family": evil}
    manifest |= {"tool_version": evil, "baked": [{"name": evil, "sha256": evil}]}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    for arguments in (
        ("inspect", module), ("inspect", copy), ("generate", copy, "w3", "--adapter", module),
        ("bake", copy, module, tmp_path / "out"),
    ):  # fmt: skip
        output = run(*arguments).output  # type: ignore[attr-defined]
        assert not set(output) & set("\x1b\x07\u202e\x9b"), arguments
    (module / "adapter_config.json").write_text(json.dumps(settings | {"peft_type": evil}))
    (tmp_path / "examples.jsonl").write_text(json.dumps({evil: evil}))
    (tmp_path / "examples.csv").write_text(f"{evil},b\n1,2\n")
    for arguments in (
        ("inspect", module), ("evaluate", bundle, tmp_path / "examples.jsonl"),
        ("evaluate", bundle, tmp_path / "examples.csv"), ("inspect", tmp_path / evil),
    ):  # fmt: skip
        assert not set(fails(*arguments)) & set("\x1b\x07\u202e\x9b"), arguments


def test_control_characters_of_modules_names_and_texts_do_not_reach_the_terminal(
    bundle: Path, module_folders: list[Path], tmp_path: Path, run: Callable[..., object]
) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\r\n"
    for index, folder in enumerate(module_folders):
        shutil.copytree(folder, tmp_path / "modules" / f"{evil}{index}")
    rows = [{"input": f"w{i} w{i + 1}{evil}", "output": f"w{20 + i}"} for i in range(4)]
    examples, out = tmp_path / "examples.jsonl", tmp_path / f"out{evil}"
    examples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    # 3 candidates leave modules untried, which are named
    arguments = ("adapt", bundle, examples, "--modules", tmp_path / "modules", "--threads", 1, "--out", out)
    for options in (("--budget", 3), ("--budget", 8, "--force", "--holdout", 1, "--rank", 1, "--warm-start", out)):
        result = run(*arguments, *options)
        assert result.exit_code == 0, result.output  # type: ignore[attr-defined]
        printed = result.output  # type: ignore[attr-defined]
        assert "owned" in printed
        assert not set(printed) & set("\x1b\x07\u202e\x9b\r"), options
    baked = run("bake", bundle, out, tmp_path / f"baked{evil}")
    assert baked.exit_code == 0  # type: ignore[attr-defined]
    assert not set(baked.output) & set("\x1b\x07\u202e\x9b\r")  # type: ignore[attr-defined]


def test_commands_print_through_one_place() -> None:
    """Where else echo is called, a text of a file could reach the terminal as it is."""
    folder = Path(cli.__file__).parent
    callers = {path.name for path in folder.glob("*.py") if "click.echo(" in path.read_text()}
    assert callers == {"printable.py", "generate.py"}  # the latter gives a program an answer as it is
