"""An adapter that was learned here is a module like any other; that it knows the examples already is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from comparisons import MakePlan, compared

from edge_lorahub import EdgeLorahubWarning, Example, Modules, Settings, adapt, load

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def learned(bundle: Path, module_folders: list[Path], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learned from the first of the two tasks."""
    rows = [json.loads(line) for line in (data / "first.jsonl").read_text().splitlines()]
    examples = [Example(row["input"], row["output"]) for row in rows]
    out = tmp_path_factory.mktemp("learned") / "mine"
    adapt(load(bundle, threads=1), Modules.load(module_folders), examples, Settings(budget=9)).adapter.save(out)
    return out


def test_every_method_of_a_comparison_takes_it(
    make_plan: MakePlan, module_folders: list[Path], learned: Path, tmp_path: Path
) -> None:
    plan = make_plan(seeds=[1])
    modules = Modules.load([*module_folders, learned])
    with pytest.warns(EdgeLorahubWarning) as caught:
        found = compared(replace(plan, modules=modules), tmp_path / "run")
    assert len(found.measured.results) == 2 * 6
    said = [str(one.message) for one in caught if "was learned from some of the examples" in str(one.message)]
    assert any("that are answered" in text for text in said)
    assert any("that are to be learned from" in text for text in said)
    # of the other task and of random modules nothing is to be said
    assert all("mine: a module" in text and "first, " in text and "random" not in text for text in said)


def test_adapt_says_so(
    run: Run, bundle: Path, module_folders: list[Path], learned: Path, data: Path, tmp_path: Path
) -> None:
    for task, times in (("first", 2), ("zweite-ü", 0)):
        result = run(
            "adapt", bundle, data / f"{task}.jsonl", "--modules", module_folders[0].parent, "--module", learned,
            "--holdout", 4, "--budget", 9, "--no-answers", "--out", tmp_path / task,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        said = " ".join(result.stderr.split())
        assert said.count("mine: a module that was learned from some of the examples that are") == times
        assert ("that are kept aside" in said) == (times > 0)


def test_a_damaged_record_is_refused_before_anything_is_measured(
    fails: Callable[..., str], bundle: Path, module_folders: list[Path], learned: Path, data: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(learned, damaged)
    (damaged / "edge_lorahub.json").write_text("{")
    line = fails(
        "compare", bundle, data, "--modules", module_folders[0].parent, "--module", damaged, "--method", "uniform",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert "edge_lorahub.json" in line
    assert not list((tmp_path / "run").glob("cells/*"))
