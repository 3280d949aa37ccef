"""A comparison as a whole: what is measured, what is kept, and what follows from the same cells."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from comparisons import InProcess, MakePlan, answers_alone, compared, read_results

from edge_lorahub import evaluate, generate, load
from edge_lorahub.comparison.comparing import compare
from edge_lorahub.comparison.local_engine import LocalEngine
from edge_lorahub.comparison.store import opened
from edge_lorahub.composition.adapter import load_adapter
from edge_lorahub.errors import EdgeLorahubWarning, JournalError, NotEnoughMemoryError, OutputExistsError, SettingsError
from edge_lorahub.inspection import inspect

# The tiny model's weights are random: short searches find nothing, and say so.
pytestmark = [
    pytest.mark.filterwarnings("ignore:task .* candidates of optimizer"),
    pytest.mark.filterwarnings("ignore:task .* a budget of"),
]


def test_a_comparison_that_was_ended_goes_on_to_the_same_table(make_plan: MakePlan, tmp_path: Path) -> None:
    whole = compared(make_plan(), tmp_path / "whole")
    assert len(make_plan().cells) == 2 * 2 * 6
    run, engines = tmp_path / "run", [InProcess(0), InProcess(1), InProcess(5), InProcess()]
    for engine in engines[:-1]:
        with pytest.raises(KeyboardInterrupt):
            compared(make_plan(), run, engine)
        assert not (run / "results.json").exists()
    assert answers_alone(compared(make_plan(), run, engines[-1]).table) == answers_alone(whole.table)
    measured = [digest for engine in engines for digest in engine.measured]
    # a cell that was measured when the interrupt came is kept, and none is measured twice
    assert len(measured) == len(set(measured)) == 24
    again = InProcess()
    assert compared(make_plan(), run, again).table == (run / "table.md").read_text()
    assert not again.measured


def test_answers_are_those_of_the_runtime(make_plan: MakePlan, tmp_path: Path, bundle: Path) -> None:
    """The plain model's and a single module's are what `generate` answers."""
    plan = make_plan(["zero-shot", "best-single"], seeds=[1])
    found = compared(plan, tmp_path / "run")
    model = load(bundle, threads=1)
    for task in plan.tasks:
        cell, plain = found.measured.results[task.name, "zero-shot", 1]
        texts = [example.input for example in cell.inputs]
        most = 1 + 6  # of the longest output, one word, and its end
        assert list(plain.predictions) == generate(model, texts, max_new_tokens=most)
        _, single = found.measured.results[task.name, "best-single", 1]
        assert single.weights is not None
        assert [weight for weight in single.weights.values() if weight] == [1.0]
        folder = next(module.folder for module in plan.modules if module.name == single.best_single)
        assert list(single.predictions) == generate(model, texts, adapter=load_adapter(folder), max_new_tokens=most)
        right = evaluate(model, cell.inputs, adapter=load_adapter(folder), max_new_tokens=most)
        assert [digit == "1" for digit in single.exact] == list(right.exact)


def test_a_choice_is_the_most_likely_answer(make_plan: MakePlan, tmp_path: Path) -> None:
    found = compared(make_plan(["zero-shot", "few-shot", "uniform"], "choice", [1]), tmp_path / "run")
    for cell, result in found.measured.results.values():
        assert cell.choices is not None
        assert set(result.predictions) <= {"w20", "w21", "w22"}
        assert result.exact == "".join(
            str(int(answer == example.output)) for answer, example in zip(result.predictions, cell.inputs, strict=True)
        )


def test_another_metric_of_texts_needs_no_new_cell(make_plan: MakePlan, tmp_path: Path) -> None:
    compared(make_plan(["zero-shot"]), tmp_path / "run")
    (tmp_path / "mine.py").write_text("def score(prediction, example):\n    return 0.25\n")
    for metric, mean in (("normalized", None), (f"{tmp_path / 'mine.py'}:score", 25.0)):
        engine = InProcess()
        compared(make_plan(["zero-shot"], metric), tmp_path / "run", engine)
        assert not engine.measured
        found = read_results(tmp_path / "run")
        assert mean is None or found["summary"][0]["mean_percent"] == mean
    engine = InProcess()
    compared(make_plan(["zero-shot"], "choice"), tmp_path / "run", engine)
    assert len(engine.measured) == 4


def test_other_settings_are_other_cells_and_the_table_has_the_last(make_plan: MakePlan, tmp_path: Path) -> None:
    methods = ["zero-shot", "learned"]
    compared(make_plan(methods, seeds=[1]), tmp_path / "run")
    first = read_results(tmp_path / "run")
    engine = InProcess()
    compared(make_plan(methods, seeds=[1], budget=2), tmp_path / "run", engine)
    # the plain model has no budget
    assert len(engine.measured) == 2
    assert read_results(tmp_path / "run")["settings"]["budget"] == 2
    engine = InProcess()
    compared(make_plan(methods, seeds=[1]), tmp_path / "run", engine)
    assert not engine.measured
    assert read_results(tmp_path / "run") == first


def test_what_a_method_does_not_read_is_not_in_its_key(make_plan: MakePlan) -> None:
    plan = make_plan(["zero-shot", "uniform", "learned"], seeds=[1])
    fewer = replace(plan, modules=list(plan.modules)[:2])
    pairs = list(zip(plan.cells, fewer.cells, strict=True))
    assert [one.digest == other.digest for one, other in pairs] == [True, False, False] * 2
    assert len({cell.digest for cell in plan.cells}) == len(plan.cells)


def test_modules_are_drawn_by_seed_where_there_are_more(make_plan: MakePlan) -> None:
    plan = make_plan(count=2)
    drawn = {seed: [module.name for module in modules] for seed, modules in plan.drawn.items()}
    assert all(len(names) == 2 for names in drawn.values())
    assert drawn[1] != drawn[2]
    assert drawn == {s: [m.name for m in modules] for s, modules in make_plan(count=2).drawn.items()}
    assert [module.name for module in make_plan(count=4).drawn[1]] == [module.name for module in plan.modules]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"exact": "', '"exact": "1', 1),
        lambda text: text.replace('"seed": 1', '"seed": 9', 1),
        lambda text: text.replace('"format": 1', '"format": 2', 1),
        lambda text: "[" * 100_000,
        lambda text: "{}",
    ],
)
def test_a_damaged_cell_is_named_and_measured_again(make_plan: MakePlan, tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    plan = make_plan(["zero-shot"], seeds=[1])
    compared(plan, tmp_path / "run")
    before = (tmp_path / "run" / "results.json").read_text()
    path = tmp_path / "run" / "cells" / f"{plan.cells[0].digest}.json"
    path.write_text(damage(path.read_text()))
    engine = InProcess()
    with pytest.warns(EdgeLorahubWarning, match=rf"{path.name}: damaged .*it is measured again \(task first, seed 1"):
        compared(plan, tmp_path / "run", engine)
    assert engine.measured == [plan.cells[0].digest]
    for after in (json.loads((tmp_path / "run" / "results.json").read_text()), json.loads(before)):
        assert after["tasks"][0]["results"][0]["cells"][0]["cell"] == plan.cells[0].digest


def test_another_process_and_something_elses_folder_are_refused(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(["zero-shot"], seeds=[1])
    with opened(tmp_path / "run"), pytest.raises(JournalError, match="another comparison writes there"):
        compared(plan, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"has no run\.json of a comparison"):
        compared(plan, tmp_path / "other")
    (tmp_path / "other" / "run.json").write_text('{"name": "something else"}')
    with pytest.raises(OutputExistsError, match="something else's"):
        compared(plan, tmp_path / "other")
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["notes.txt", "run.json"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputExistsError):
        compared(plan, tmp_path / "file")


def test_inspect_says_of_a_comparison_what_can_be_done_with_it(make_plan: MakePlan, tmp_path: Path) -> None:
    run = tmp_path / "run"
    compared(make_plan(["zero-shot"], seeds=[1]), run)
    assert inspect(run) == {"kind": "comparison", "shown by": f"edge-lorahub report {run} -o FILE.html"}
    (run / "results.json").unlink()  # a comparison that was ended has none
    assert inspect(run) == {
        "kind": "comparison", "state": "not ended; the same `edge-lorahub compare` goes on with it"
    }  # fmt: skip


@pytest.mark.parametrize("damage", ["{", ""])
def test_a_damaged_run_is_named_and_written_anew(damage: str, make_plan: MakePlan, tmp_path: Path) -> None:
    """The cells are not measured again; a folder with anything else in it is left alone."""
    plan, run = make_plan(["zero-shot"], seeds=[1]), tmp_path / "run"
    compared(plan, run)
    before = (run / "run.json").read_text()
    (run / "run.json").write_text(damage)
    (run / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"run\.json is damaged, and it has files .* \(notes\.txt\)"):
        compared(plan, run)
    (run / "notes.txt").unlink()
    (run / "lock").unlink()  # as in a copy that somebody has tidied
    engine = InProcess()
    with pytest.warns(EdgeLorahubWarning, match=r"run\.json: damaged; it is written anew"):
        compared(plan, run, engine)
    assert not engine.measured
    assert (run / "run.json").read_text() == before
    (run / "run.json").write_text(json.dumps({**json.loads(before), "format": 2}))
    with pytest.raises(OutputExistsError):
        compared(plan, run)


@pytest.mark.parametrize("text", ["[]", '"mine"', "{}"])
def test_json_of_something_else_in_the_place_of_a_run_is_kept(text: str, make_plan: MakePlan, tmp_path: Path) -> None:
    plan, run = make_plan(["zero-shot"], seeds=[1]), tmp_path / "run"
    compared(plan, run)
    (run / "run.json").write_text(text)
    with pytest.raises(OutputExistsError, match=r"has no run\.json of a comparison"):
        compared(plan, run)
    assert (run / "run.json").read_text() == text


def test_a_damaged_run_without_cells_is_kept(make_plan: MakePlan, tmp_path: Path) -> None:
    """It may be anybody's."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"has no run\.json of a comparison"):
        compared(make_plan(["zero-shot"], seeds=[1]), tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_text() == "mine"


def test_a_function_that_fails_is_told_before_anything_is_measured(make_plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def score(prediction, example):\n    return example.nothing\n")
    engine = InProcess()
    with pytest.raises(SettingsError, match="AttributeError"):
        compared(make_plan(["zero-shot"], f"{tmp_path / 'mine.py'}:score"), tmp_path / "run", engine)
    assert not engine.measured


def test_the_figures_are_those_of_the_cells(make_plan: MakePlan, tmp_path: Path) -> None:
    """results.json against what its own scores say, by NumPy."""
    plan = make_plan(metric="choice")
    compared(plan, tmp_path / "run")
    found = read_results(tmp_path / "run")
    assert found["name"] == "edge-lorahub comparison"
    ids = [method["id"] for method in found["methods"]]
    assert ids == ["zero-shot", "few-shot", "best-single", "uniform", "random:cma", "learned:cma"]
    scores = np.array(
        [[[cell["scores"] for cell in one["cells"]] for one in task["results"]] for task in found["tasks"]]
    )  # (tasks, methods, seeds, inputs)
    means = 100 * scores.mean(axis=3)
    for place, one in enumerate(found["summary"]):
        assert one["method"] == ids[place]
        assert one["mean_percent"] == pytest.approx(means[:, place].mean())
        assert one["best_percent"] == pytest.approx(means[:, place].max(axis=1).mean())
        assert one["sd_percent"] == pytest.approx(means[:, place].mean(axis=0).std(ddof=1))
    for one in found["differences"]:
        points = (means[:, ids.index(one["method"])] - means[:, ids.index(one["against"])]).mean()
        assert one["points"] == pytest.approx(points)
        assert one["low"] <= one["points"] <= one["high"]
    for task in found["tasks"]:
        for one in task["results"]:
            for cell in one["cells"]:
                assert (tmp_path / "run" / "cells" / f"{cell['cell']}.json").is_file()
                trace = cell["trace"]
                assert trace is None or (len(trace) <= 3 and trace == sorted(trace, reverse=True))
    assert [one["against"] for one in found["differences"]] == ids[:-1]
    assert len(found["verdicts"]) == 5


def test_every_field_is_described(make_plan: MakePlan, tmp_path: Path) -> None:
    """docs/reference/comparison.md, from which others build their readers, has the names of all fields."""
    plan = make_plan()
    compared(plan, tmp_path / "run")
    text = (Path(__file__).parents[2] / "docs" / "reference" / "comparison.md").read_text(encoding="utf-8")
    cell = json.loads((tmp_path / "run" / "cells" / f"{plan.cells[-1].digest}.json").read_text())
    for record in (read_results(tmp_path / "run"), json.loads((tmp_path / "run" / "run.json").read_text()), cell):
        assert not {name for name in names_in(record) if f"`{name}`" not in text}


def names_in(value: object, of: str = "") -> Iterator[str]:
    """The names of fields; those of what maps names of the user's, or is described elsewhere, are left out."""
    if isinstance(value, dict):
        if of not in ("module_draws", "weights", "prompt"):
            yield from value
        for name, inner in value.items():
            if of != "prompt":
                yield from names_in(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from names_in(inner, of)


def test_random_weights_and_nothing_right_are_said(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(["zero-shot"], seeds=[1])
    notes = compared(plan, tmp_path / "run").notes
    assert any("single answer right" in note for note in notes)
    manifest = plan.bundle.manifest
    plan.bundle.manifest = replace(manifest, model=replace(manifest.model, base_model="tiny-random-t5"))
    notes = compared(replace(plan, count=2), tmp_path / "run").notes
    assert any("random weights" in note for note in notes)
    assert any("drawn 2 of 4 modules" in note for note in notes)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(["zero-shot"], seeds=[1])
    with opened(tmp_path / "run") as store:
        compare(plan, store, InProcess())
    (tmp_path / "run" / "cells").chmod(0o500)
    with pytest.raises(PermissionError):
        compared(plan, tmp_path / "run")


def test_a_process_that_was_ended_is_told_with_its_cell(make_plan: MakePlan) -> None:
    running = LocalEngine(1).run(make_plan(["zero-shot"], seeds=[1]).cells)
    next(running)
    (process,) = multiprocessing.active_children()
    process.kill()
    with pytest.raises(NotEnoughMemoryError, match=r"task zweite-ü, seed 1, plain model: its process was ended"):
        next(running)
    assert not multiprocessing.active_children()


def test_an_error_of_a_cell_is_told_with_its_name(make_plan: MakePlan) -> None:
    plan = make_plan(["zero-shot"], seeds=[1])
    for change, said in (({"versions": {"numpy": "1"}}, "same versions"), ({"bundle_sha256": "0"}, "another bundle")):
        (cell, _) = plan.cells
        with pytest.raises(SettingsError, match=rf"task first, seed 1.*{said}"):
            list(LocalEngine(2).run([replace(cell, **change)]))
