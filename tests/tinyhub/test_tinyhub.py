"""The embedded hub: its tasks, its folders, and that learning on it works."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edge_lorahub import Example, Modules, evaluate, generate, load, load_adapter
from edge_lorahub.bundle.manifest import read_manifest
from edge_lorahub.export import export
from edge_lorahub.tinyhub import (
    CLEAN_MODULES,
    DEV_TASKS,
    ENTANGLED_MODULES,
    TEST_TASKS,
    Task,
    examples,
    relevant_modules,
    vocabulary,
)
from edge_lorahub.tinyhub.hub import BASE, DATA, KINDS, module_folders

UNSEEN = (*DEV_TASKS, *TEST_TASKS)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tinyhub") / "bundle"
    export(BASE, out)
    return out


def test_examples_are_the_same_on_every_python() -> None:
    """As drawn with Python 3.11.7; only random.Random.random() is used, whose stream is promised to stay."""
    assert examples(Task("reverse", "upper"), 2, 1) == [
        ("maybe question here some data well : crab olive leaf duck", "DUCK LEAF OLIVE CRAB"),
        ("okay task some today here just : duck moon hat", "HAT MOON DUCK"),
    ]


def test_more_examples_begin_with_the_fewer() -> None:
    for unseen in UNSEEN:
        pairs = examples(unseen.task, 205, 1)
        assert pairs[:5] == examples(unseen.task, 5, 1)
        assert len({source.partition(":")[2] for source, _ in pairs}) == 205
        assert pairs[:5] != examples(unseen.task, 5, 2)


def test_every_word_is_in_the_vocabulary() -> None:
    words = set(vocabulary())
    for unseen in UNSEEN:
        for pair in examples(unseen.task, 50, 3):
            assert {word for text in pair for word in text.split()} <= words


def test_the_unseen_tasks_are_unseen_and_in_two_sets() -> None:
    names = [unseen.name for unseen in UNSEEN]
    assert len(set(names)) == len(names)
    assert len(DEV_TASKS) >= 8
    assert len(TEST_TASKS) >= 12
    assert not set(names) & set(ENTANGLED_MODULES)
    for unseen in UNSEEN:
        for kind in KINDS:
            assert relevant_modules(unseen, kind)


def test_the_folders_are_those_of_the_tables_and_fit_without_a_warning(tiny: Path) -> None:
    manifest = read_manifest(tiny)
    for kind, table in (("clean", CLEAN_MODULES), ("entangled", ENTANGLED_MODULES)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            modules = Modules.load(module_folders(kind))
            modules.check(manifest)
        assert sorted(modules.names) == sorted(table)
    assert sum(file.stat().st_size for file in DATA.rglob("*") if file.is_file()) < 5e6
    with pytest.raises(ValueError, match="clean, entangled, both"):
        module_folders("dirty")


def test_the_base_does_what_an_instruction_says(tiny: Path) -> None:
    model = load(tiny, threads=1)
    assert generate(model, ["turn around in capitals bare list : crab moon hat"]) == ["HAT MOON CRAB"]


@pytest.mark.parametrize("name", sorted(ENTANGLED_MODULES))
def test_a_module_does_its_own_task(tiny: Path, name: str) -> None:
    """Held-out exact match as the recipe measured it with torch, within sampling: 97.0 % was the least."""
    adapter = load_adapter(DATA / "modules" / "entangled" / name)
    held_out = [Example(*pair) for pair in examples(ENTANGLED_MODULES[name], 60, 11)]
    assert evaluate(load(tiny, threads=1), held_out, adapter=adapter, batch_size=60).exact_match_percent >= 90


def test_the_demonstration_learns(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two modules that no single one replaces; what is shown stays far above chance on every machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    facts = json.loads(run("demo", "--budget", 40, "--threads", 1, "--json").stdout)
    found = facts["exact_match_percent"]
    assert found["adapted"] >= 60
    assert max(found[name] for name in ("plain model", "best single module", "random modules")) <= 10
    normalized = facts["normalized_match_percent"]
    assert list(normalized) == list(found)
    assert all(normalized[who] >= found[who] for who in found)
    assert min(facts["weights"][name] for name in ("do-first", "spell-upper")) > 0.2


def test_the_demonstrations_last_lines_do_what_it_showed(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same options mean the same in demo and adapt, so that the same percentage comes out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "no" / "home"))  # paths as they are, for what is no shell
    arguments = ("demo", "--task", "reverse-none-plain", "--modules", "both", "--budget", 50, "--threads", 1)
    report = run(*arguments).stdout
    accuracy = json.loads(run(*arguments, "--json").stdout)["exact_match_percent"]["adapted"]
    assert f"{accuracy:.1f}" in report
    assert report.index("exact") < report.index("normalized")  # strict first, as evaluate and adapt do
    commands = [shlex.split(line) for line in report.splitlines() if line.startswith("  edge-lorahub")][:2]
    assert [words[1] for words in commands] == ["adapt", "evaluate"]
    for words in commands:
        result = run(*words[1:], "--threads", 1, "--json")
        assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["exact_match_percent"] == pytest.approx(accuracy)


def test_the_demonstrations_tasks(run: Callable[..., Result], fails: Callable[..., str]) -> None:
    listed = run("demo", "--list").stdout
    assert all(unseen.name in listed for unseen in UNSEEN)
    assert list(json.loads(run("demo", "--list", "--json").stdout)) == [unseen.name for unseen in UNSEEN]
    assert "no unseen task 'nothing'; `edge-lorahub demo --list`" in fails("demo", "--task", "nothing")


def test_a_home_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edge_lorahub.cli.demo_bundle import base_bundle

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    allowed = os.access
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path and allowed(path, mode))
    assert load(base_bundle(), threads=1).manifest.model.base_model == "edge-lorahub/tiny-t5"
    assert not (tmp_path / "cache").exists()


def test_a_damaged_bundle_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edge_lorahub.cli.demo_bundle import base_bundle

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = base_bundle()
    (made / "decoder.onnx").unlink()
    assert base_bundle() == made
    load(base_bundle(), threads=1)
    (made / "manifest.json").write_text("{")
    load(base_bundle(), threads=1)
    assert [path.name for path in made.parent.iterdir()] == [made.name]


def test_two_first_runs_at_once(tmp_path: Path) -> None:
    """Both export the base into the same empty cache; folders appear whole, so both find one."""
    code = "from edge_lorahub.cli.demo_bundle import base_bundle; from edge_lorahub import load; load(base_bundle())"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    runs = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(3)]
    assert [process.wait() for process in runs] == [0, 0, 0]
    assert len(list((tmp_path / "edge-lorahub").iterdir())) == 1
