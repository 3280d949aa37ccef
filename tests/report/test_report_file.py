"""Where a report goes: whole or not at all, and over nothing but an earlier report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from made_results import results

from edge_lorahub.errors import OutputExistsError
from edge_lorahub.report.report_file import check_report_file, write_report_file


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison") / "run"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps(results(tasks=1, seeds=1, inputs=2, modules=2)))
    return folder


def test_only_a_report_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    write_report_file(out, "<p>one</p>\n", force=False)
    first = out.read_bytes()
    with pytest.raises(OutputExistsError, match="exists already"):
        write_report_file(out, "<p>two</p>\n", force=False)
    assert out.read_bytes() == first
    write_report_file(out, "<p>two</p>\n", force=True)
    assert b"two" in out.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]


@pytest.mark.parametrize("change", ["edited", "appended", "cut", "empty", "other", "last line alone"])
def test_what_is_no_report_stays(change: str, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    write_report_file(out, "<p>one</p>\n", force=False)
    data = out.read_bytes()
    data = {
        "edited": data.replace(b"one", b"two"), "appended": data + b"x", "cut": data[:-10], "empty": b"",
        "other": b"<!doctype html><title>mine</title>" * 50, "last line alone": data.splitlines(keepends=True)[-1],
    }[change]  # fmt: skip
    out.write_bytes(data)
    with pytest.raises(OutputExistsError, match="not a report as edge-lorahub wrote it"):
        check_report_file(out, force=True)
    assert out.read_bytes() == data


def test_inputs_are_not_overwritten(comparison: Path, fails: Callable[..., str]) -> None:
    before = (comparison / "results.json").read_bytes()
    line = fails("report", comparison, "-o", comparison / "results.json", "--force")
    assert "will not be overwritten" in line
    assert (comparison / "results.json").read_bytes() == before


def test_options_that_mean_nothing_are_refused(comparison: Path, fails: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    line = fails("report", comparison, "-o", out, "--bundle", "x", "--limit", "3")
    assert "a comparison, whose report has no use for --bundle, --limit" in line
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "edge_lorahub.json").write_text("{}")
    assert "answers need --examples too" in fails("report", tmp_path / "adapter", "-o", out, "--bundle", "x")
    assert "answers need --bundle and --examples too" in fails("report", tmp_path / "adapter", "-o", out, "--limit", 2)
    assert "Missing option" in fails("report", comparison)
    assert not out.exists()


@pytest.mark.parametrize(("module", "package"), [("jinja2", "jinja2"), ("vl_convert", "vl-convert-python")])
def test_a_missing_library_is_named(
    module: str, package: str, comparison: Path, fails: Callable[..., str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, module, None)
    line = fails("report", comparison, "-o", tmp_path / "page.html")
    assert line == f"Error: a report needs {package}: pip install 'edge-lorahub[report]'"
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_named(comparison: Path, fails: Callable[..., str], tmp_path: Path) -> None:
    assert "a folder, where a file was expected" in fails("report", comparison, "-o", tmp_path)
    (tmp_path / "file").write_text("x")
    assert "is a file, not a folder" in fails("report", comparison, "-o", tmp_path / "file" / "page.html")
    os.mkfifo(tmp_path / "pipe")
    assert "a device or pipe" in fails("report", comparison, "-o", tmp_path / "pipe", "--force")


def test_the_command_says_where_it_is(comparison: Path, run: Callable[..., Result], tmp_path: Path) -> None:
    pytest.importorskip("vl_convert", reason="the extra report is not installed")
    out = tmp_path / "new" / "page.html"
    result = run("report", comparison, "-o", out)
    assert (result.exit_code, result.output) == (0, f"report: {out}\n")
    again = run("report", comparison, "-o", out, "--force")
    assert again.exit_code == 0
