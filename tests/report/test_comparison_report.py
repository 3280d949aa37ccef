"""The page of a comparison: what results.json says, no more, and what is wrong with one by its field."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from html_pages import check_page
from made_results import results

from edge_lorahub.errors import JournalError
from edge_lorahub.report import comparison_page, module_map, results_file
from edge_lorahub.report.make import report

pytest.importorskip("vl_convert", reason="the extra report is not installed")
DOCS = Path(__file__).parents[2] / "docs" / "reference" / "comparison.md"
RTL, HOSTILE = "\u202eevil\u2066", "</title></script><img src=x onerror=alert(1)>\"'&<!-- --> {{ 7*7 }}"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return results(tasks=3, seeds=2, inputs=20, modules=6)


def written(folder: Path, found: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(found), encoding="utf-8")
    return folder


@pytest.fixture
def changed(made: dict[str, Any], tmp_path: Path) -> Callable[[str, object], Path]:
    """A comparison with another value where a path as `tasks.0.name` leads; ... for none."""

    def make(place: str, value: object) -> Path:
        found = json.loads(json.dumps(made))
        *parents, last = place.split(".")
        inner = found
        for parent in parents:
            inner = inner[int(parent) if isinstance(inner, list) else parent]
        if value is ...:
            del inner[last]
        else:
            inner[int(last) if isinstance(inner, list) else last] = value
        return written(tmp_path / "run", found)

    return make


def test_the_fields_are_those_of_the_reference() -> None:
    """Every field that the page reads stands in docs/reference/comparison.md, in backquotes."""
    text = DOCS.read_text(encoding="utf-8")
    kinds = [kind for kind in vars(results_file).values() if dataclasses.is_dataclass(kind)]
    names = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert len(kinds) == 13
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_the_page_has_what_the_results_say(made: dict[str, Any], tmp_path: Path) -> None:
    page = check_page(report(written(tmp_path / "run", made)))
    for text in (*made["verdicts"], *made["notes"], *made["warnings"], made["bundle"]["sha256"], "AMD EPYC"):
        assert text in page.text
    for one in made["summary"]:
        assert f"{one['mean_percent']:.1f} {one['best_percent']:.1f} {one['sd_percent']:.1f}" in page.text
    for one in made["differences"]:
        assert f"{one['points']:+.1f} {one['low']:+.1f} to {one['high']:+.1f} {one['says']}" in page.text
    for task in made["tasks"]:
        assert f"{task['name']} (20 inputs)" in page.text
        for one in task["results"]:
            assert " ".join(f"{cell['score_percent']:.1f}" for cell in one["cells"]) in page.text
    # all methods, the differences, three of each task, and the map
    assert len(page.all("svg")) == 2 + 3 * 3 + 1
    weights = [c["weights"]["module-0"] for c in made["tasks"][0]["results"][4]["cells"]]
    assert f"{sum(weights) / 2:+.2f}" in page.text


def test_the_same_results_give_the_same_page(made: dict[str, Any], tmp_path: Path) -> None:
    folder = written(tmp_path / "run", made)
    assert report(folder) == report(folder)


def test_a_comparison_of_twelve_tasks_is_below_three_megabytes(tmp_path: Path) -> None:
    page = report(written(tmp_path / "run", results()))
    assert len(page.encode()) < 3_000_000
    assert len(check_page(page).all("svg")) == 2 + 12 * 3 + 1


def test_little_is_shown_as_little(tmp_path: Path) -> None:
    """One seed has no deviation; without differences, weights and traces their charts are left out, with a word."""
    found = results(tasks=1, seeds=1, inputs=1, modules=1)
    found |= {"differences": [], "verdicts": [], "notes": [], "warnings": [], "modules": [], "module_draws": {}}
    for one in found["tasks"][0]["results"]:
        for cell in one["cells"]:
            cell |= {"weights": None, "trace": None, "best_single": None}
    page = check_page(report(written(tmp_path / "run", found)))
    assert "No learned weights are recorded" in page.text
    assert "No differences are recorded" in page.text
    assert len(page.all("svg")) == 2
    nothing = found | {"tasks": [], "methods": [], "summary": [], "seeds": []}
    assert "No summary is recorded" in check_page(report(written(tmp_path / "run", nothing))).text


def test_random_weights_are_a_warning(changed: Callable[[str, object], Path]) -> None:
    page = check_page(report(changed("bundle.random_weights", True)))
    assert "The model's weights are random: scores mean nothing" in page.text


PLACES = (
    "methods.4.label", "verdicts.0", "notes.0", "warnings.0", "bundle.base_model", "modules.0.name", "metric.name",
    "settings.prompt", "tasks.0.results.0.cells.0.machine.processor", "tasks.0.results.2.cells.0.best_single",
    "module_draws.1.0", "tasks.0.name", "tasks.0.results.4.cells.0.weights",
)  # fmt: skip


def test_hostile_texts_are_texts(made: dict[str, Any], tmp_path: Path) -> None:
    """In every place where a text of somebody else's is shown."""
    found = json.loads(json.dumps(made))
    for number, place in enumerate(PLACES):
        text = f"{HOSTILE} {RTL} {number}"
        *parents, last = place.split(".")
        inner = found
        for parent in parents:
            inner = inner[int(parent) if isinstance(inner, list) else parent]
        key = int(last) if isinstance(inner, list) else last
        inner[key] = {text: 1.5} if last == "weights" else text
    for one in found["differences"]:
        one["tasks"][0]["task"] = found["tasks"][0]["name"]
    html = report(written(tmp_path / "run", found))
    page = check_page(html)
    assert "\u202e" not in html
    assert "\u2066" not in html
    for number in range(len(PLACES)):
        assert f"{HOSTILE} \\u202eevil\\u2066 {number}" in page.text


def test_long_texts_are_shortened_with_a_note(changed: Callable[[str, object], Path]) -> None:
    html = report(changed("verdicts.0", "x" * 100_000))
    assert "more characters are not shown" in html
    assert len(html) < 1_000_000


def test_names_that_are_alike_stay_apart_in_charts(made: dict[str, Any], tmp_path: Path) -> None:
    """Shortened, two names may be the same: a chart would draw one mark for both."""
    found = json.loads(json.dumps(made))
    for place, method in enumerate(found["methods"]):
        method["label"] = "a very long name of a method that is the same in front " * 2 + str(place)
    found["methods"][0]["label"] = found["methods"][1]["label"]  # and two are the same
    html = report(written(tmp_path / "run", found))
    assert len(set(re.findall(r">(a very long name[^<]{0,20}…(?: \(\d\))?)</text>", html))) == 6


WRONG: dict[str, tuple[str, object, str]] = {
    "another name": ("name", "x", "not the results of a comparison: name is 'x'"),
    "a newer format": ("format", 2, "format 2, but this program reads 1; update edge-lorahub"),
    "no format": ("format", "1", "format is '1', where 1 was expected"),
    "a missing field": ("summary", ..., "summary is missing"),
    "missing settings": ("settings", ..., "settings is missing"),
    "settings that are none": ("settings", [], "settings is no object"),
    "an unknown field": ("speed", 3, "speed is a field that this program does not know; update edge-lorahub"),
    "a text for a number": (
        "summary.0.mean_percent",
        "x",
        "summary[0].mean_percent is 'x', where a number was expected",
    ),
    "no number": ("differences.0.low", float("nan"), "differences[0].low is nan, where a number was expected"),
    "an unknown verdict": ("differences.0.says", "great", "differences[0].says has 'great', which is none of better"),
    "a method that is none": ("summary.0.method", "x", "summary.method has 'x', which is none of zero-shot"),
    "a method twice": ("methods.1.id", "zero-shot", "methods has 'zero-shot' twice"),
    "a task twice": ("tasks.1.name", "task_0", "tasks has 'task_0' twice"),
    "another task": ("differences.0.tasks.0.task", "x", "differences[0].tasks has 'x', which is none of task_0"),
    "other seeds": ("tasks.0.results.0.cells.0.seed", 7, "tasks[0].results of 'zero-shot' has other seeds"),
    "fewer scores": ("tasks.0.results.0.cells.0.scores", [1.0], "scores has 1 numbers for 20 inputs"),
    "no share": ("tasks.0.results.0.mean_percent", 101, "mean_percent is 101.0, which is no share in percent"),
    "a negative share": ("summary.0.best_percent", -1, "best_percent is -1.0, which is no share in percent"),
    "a summary twice": ("summary.1.method", "zero-shot", "summary.method has 'zero-shot' twice"),
    "a difference twice": (
        "differences.1.against",
        "zero-shot",
        "differences has 'learned:cma against zero-shot' twice",
    ),
    "a task without results": ("tasks.0.results", ..., "tasks[0].results is missing"),
}


@pytest.mark.parametrize(("place", "value", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(
    place: str, value: object, message: str, changed: Callable[[str, object], Path]
) -> None:
    folder = changed(place, value)
    with pytest.raises(JournalError) as caught:
        report(folder)
    assert str(caught.value).startswith(f"{folder / 'results.json'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"name": "edge-lorahub comparison"}']
)
def test_damaged_files_are_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(data)
    with pytest.raises(JournalError, match=re.escape(str(tmp_path / "results.json"))) as caught:
        report(tmp_path)
    assert "run the same `edge-lorahub compare` again" in str(caught.value)


def test_many_tasks_are_thinned_with_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_page, "_MOST_TASKS", 1)
    monkeypatch.setattr(module_map, "_MOST_TASKS", 2)
    monkeypatch.setattr(module_map, "_MOST_MODULES", 3)
    found = results(tasks=3, seeds=1, inputs=2, modules=5)
    found["tasks"][2]["results"][4]["cells"][0]["weights"] = {"elsewhere": 9.0}
    page = check_page(report(written(tmp_path / "run", found)))
    assert "Charts are of the first 1 of 3 tasks" in page.text
    assert "The map and its table have the first 2 of 3 tasks" in page.text
    assert "The map has the 3 modules with the largest weights; all 5 are in the table" in page.text
    assert all(f"{task['name']} {task['results'][0]['mean_percent']:.1f} " in page.text for task in found["tasks"])
    assert len(page.all("svg")) == 2 + 3 + 1
