"""The page of an adapter: what its record says, and the answers that were made for it."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from html_pages import check_page

from edge_lorahub import Adaptation, Example, Settings, adapt, load_adapter
from edge_lorahub.composition.record import Contribution, Explained, Record, Tried
from edge_lorahub.errors import EdgeLorahubWarning, MissingPathError, ModuleFileError
from edge_lorahub.report.adapter_page import adapter_page
from edge_lorahub.report.before_after import Answered, Answers
from edge_lorahub.report.make import report
from edge_lorahub.report.render import render

pytest.importorskip("vl_convert", reason="the extra report is not installed")
HOSTILE = "</title></script><img src=x onerror=alert(1)>\"'&<!-- --> {{ 7*7 }}"


def learned(bundle: Path, folders: list[Path], examples: list[Example], settings: Settings) -> Adaptation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        return adapt(str(bundle), [str(folder) for folder in folders], examples, settings, threads=1)


@pytest.fixture(scope="module")
def found(bundle: Path, module_folders: list[Path], examples: list[Example]) -> Adaptation:
    return learned(bundle, module_folders, examples, Settings(budget=12))


@pytest.fixture(scope="module")
def adapter(found: Adaptation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapter") / "learned"
    found.adapter.save(out)
    return out


def page_of(record: Record, answers: Answers | None = None) -> Any:
    return check_page(render(adapter_page("learned", "0" * 64, record, answers)))


def test_the_page_has_what_the_record_says(found: Adaptation, adapter: Path) -> None:
    page, record = check_page(report(adapter)), found.record
    assert f"the loss went from {record.loss.before:.4f} to {record.loss.after:.4f}" in page.text
    for place, tried in enumerate(record.trace, 1):
        predicted = "-" if tried.predicted is None else f"{tried.predicted:.4f}"
        assert f"{place} {tried.phase} {tried.loss:.4f} {predicted}" in page.text
    assert record.explanation is not None
    for name, one in record.explanation.contributions.items():
        assert (
            f"{name} {record.weights[name]:+.3f} {one.loss_without_it:+.3f} {one.low:+.3f} to {one.high:+.3f}"
            in page.text
        )
    digests = [record.bundle_sha256, record.examples.sha256, found.adapter.sha256, *record.bundle.files.values()]
    assert [digest for digest in (*digests, *(m.sha256 for m in record.modules)) if digest not in page.text] == []
    assert "The record does not say which machine this was" in page.text
    assert "A record keeps no texts of examples" in page.text
    assert len(page.all("svg")) == 3
    assert str(record.modules[0].folder) not in page.text, "a path of the user's machine"


def test_examples_left_out_say_how_their_loss_is_known(found: Adaptation) -> None:
    explained = Explained({}, (1.5, 0.25), (1.0, 2.0), checked=(0,))
    page = page_of(replace(found.record, explanation=explained))
    assert "example 1 1.0000 1.5000 evaluated" in page.text
    assert "example 2 2.0000 0.2500 predicted" in page.text
    assert "Example 1 does not agree with the others" in page.text
    page = page_of(replace(found.record, explanation=replace(explained, checked=None)))
    assert "example 1 1.0000 1.5000 not recorded" in page.text
    assert "does not agree" not in page.text


def test_what_a_record_lacks_is_said(found: Adaptation) -> None:
    page = page_of(replace(found.record, explanation=None, trace=(), weights=dict.fromkeys(found.weights, 0.0)))
    for text in ("The record has no candidates", "All weights are 0", "What each module contributes is not known",
                 "Losses by example are not in the record"):  # fmt: skip
        assert text in page.text
    assert page.all("svg") == []


def test_numbers_that_are_none(found: Adaptation) -> None:
    """Stopped candidates, a single example without an interval, and losses of zero and below."""
    names = list(found.weights)
    trace = [Tried((0.0,) * len(names), loss, "CMA-ES") for loss in (None, 0.0, -1.0, None, 1e9)]
    explained = Explained(
        {names[0]: Contribution(0.5, None, None), names[1]: Contribution(None, None, None)}, (), (None,)
    )
    page = page_of(replace(found.record, trace=tuple(trace), explanation=explained))
    assert "2 candidates stopped early" in page.text
    assert "1 CMA-ES stopped early - -" in page.text
    assert "example 1 - - -" in page.text
    assert "evaluated: CMA-ES" in page.text
    nothing = page_of(replace(found.record, trace=trace[:1] * 3))
    assert "No candidate has a loss" in nothing.text


def test_the_released_codes_loss_is_named(bundle: Path, module_folders: list[Path], examples: list[Example]) -> None:
    result = learned(bundle, module_folders, examples, Settings(optimizer="reference", budget=5))
    page = page_of(result.record)
    assert "The loss is counted as the paper's released code does" in page.text
    assert "No surrogate predicted losses in this search" in page.text


def test_many_modules_and_candidates_are_thinned_with_a_word(found: Adaptation) -> None:
    record = found.record
    modules = tuple(replace(record.modules[0], name=f"module {n}") for n in range(196))
    weights = {module.name: (n + 1) / 196 for n, module in enumerate(modules)}
    trace = tuple(Tried((0.0,) * 196, 1 + 1 / (n + 1), "CMA-ES") for n in range(5_000))
    html = render(adapter_page("big", "0" * 64, replace(
        record, modules=modules, weights=weights, trace=trace, explanation=None, untried=()
    ), None))  # fmt: skip
    page = check_page(html)
    assert "the first 2,000 of 5,000" in page.text
    assert "Of 5,000 marks the chart has 1,000" in page.text
    assert "The chart has the 40 largest weights; 156 more are in the table" in page.text
    assert len(html) < 3_000_000


def test_hostile_texts_are_texts(found: Adaptation) -> None:
    name = f"{HOSTILE}\u202e"
    modules = (replace(found.record.modules[0], name=name), *found.record.modules[1:])
    weights = {module.name: weight for module, weight in zip(modules, found.weights.values(), strict=True)}
    record = replace(found.record, modules=modules, weights=weights, explanation=None, untried=(), base_model=name,
                     prompt=replace(found.record.prompt, before=name))  # fmt: skip
    answers = Answers((Answered(name, name, "\x00\x1b[2J", "y" * 100_000, True),))
    html = render(adapter_page(name, "0" * 64, record, answers))
    page = check_page(html)
    assert page.text.count(f"{HOSTILE}\\u202e") >= 6
    assert not {"\u202e", "\x00", "\x1b"} & set(html)
    assert "\\x00\\x1b[2J" in page.text
    assert "y… (98,000 more characters are not shown)" in page.text


def test_answers_are_those_of_generate(
    adapter: Path, bundle: Path, examples: list[Example], run: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "examples.jsonl"
    new = Example("something else", "other")
    rows = [{"input": one.input, "output": one.output} for one in (*examples, new)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "page.html"
    result = run("report", adapter, "-o", out, "--bundle", bundle, "--examples", file, "--threads", "1")
    assert result.exit_code == 0, result.output
    page = check_page(out.read_text(encoding="utf-8"))
    assert f"The adapter was learned from {len(examples)} of these" in page.text
    assert page.text.count("(learned from)") == len(examples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)
        told = run("generate", bundle, "something else", "--adapter", adapter, "--threads", "1").stdout.strip()
    assert told[:40] in page.text


def test_other_folders_are_named(adapter: Path, bundle: Path, module_folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for path, message in (
        (tmp_path / "none", "no such folder"),
        (adapter / "edge_lorahub.json", "a file; .* so name the folder"),
        (bundle, "a bundle; a report is of"),
        (module_folders[0], "a LoRA module of other origin, without edge_lorahub.json"),
        (tmp_path / "run", "not ended; the same `edge-lorahub compare` goes on with it"),
        (tmp_path / "empty", "neither edge_lorahub.json nor results.json is in it"),
    ):
        with pytest.raises(MissingPathError, match=message):
            report(path)


def test_damaged_records_are_named(adapter: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    record = json.loads((copy / "edge_lorahub.json").read_text(encoding="utf-8"))
    (copy / "edge_lorahub.json").write_text(json.dumps(record | {"seconds": "x"}))
    with pytest.raises(ModuleFileError, match=r"edge_lorahub\.json: seconds is 'x', where a number was expected"):
        report(copy)
    del record["format_version"]
    (copy / "edge_lorahub.json").write_text(json.dumps(record))
    with pytest.raises(ModuleFileError, match="so learn the adapter again"):
        report(copy)


def test_a_record_of_before_has_no_checked(adapter: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    record = json.loads((copy / "edge_lorahub.json").read_text(encoding="utf-8"))
    assert isinstance(record["explanation"].pop("checked"), list)
    (copy / "edge_lorahub.json").write_text(json.dumps(record))
    assert load_adapter(copy).record is not None
    assert "not recorded" in check_page(report(copy)).text


def test_examples_that_are_not_answered_are_named(
    adapter: Path, bundle: Path, run: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text("".join(json.dumps({"input": f"text {n}", "output": "x"}) + "\n" for n in range(22)))
    answering = ("report", adapter, "-o", tmp_path / "page.html", "--bundle", bundle, "--examples", file, "--force")
    assert (
        f"Warning: {file}: answering the first 20 of 22 examples; --limit 22 takes them all" in run(*answering).output
    )
    told = run(*answering, "--limit", "30").output
    assert f"Warning: {file}: --limit 30, but there are only 22 examples; all of them are taken" in told
