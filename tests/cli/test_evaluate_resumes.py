"""A long evaluation that was ended goes on, and ends in the same predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edge_lorahub.evaluation import matches

Run = Callable[..., Result]


@pytest.mark.parametrize("done", [0, 1, 3])
def test_an_evaluation_that_was_ended_goes_on(
    done: int, run: Run, fails: Callable[..., str], bundle: Path, tmp_path: Path, module_folders: list[Path]
) -> None:
    data, out = tmp_path / "data.jsonl", tmp_path / "ev.jsonl"
    rows = [{"input": " ".join(f"w{10 + i + j}" for j in range(3 + i % 9)), "output": "w2"} for i in range(20)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    adapter = ["--adapter", module_folders[0], "--max-new-tokens", 6, "--batch-size", 4]
    whole = run("evaluate", bundle, data, *adapter, "--json", "--predictions", tmp_path / "whole.jsonl")
    assert whole.exit_code == 0, whole.output
    plain = run("evaluate", bundle, data, *adapter, "--json")
    assert plain.stdout == whole.stdout
    real, left, batches = matches.generate_with, iter(range(done)), []

    def ended(*arguments: object, **options: object) -> list[str]:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(*arguments, **options)  # type: ignore[arg-type]

    def counted(*arguments: object, **options: object) -> list[str]:
        batches.append(1)
        return real(*arguments, **options)  # type: ignore[arg-type]

    kept = tmp_path / "ev.jsonl.cells.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matches, "generate_with", ended)
        said = run("evaluate", bundle, data, *adapter, "--predictions", out).stderr
    assert not out.exists()
    assert kept.exists() == bool(done)
    if done:
        assert "the same command with --resume goes on" in said
        assert "other settings (limits)" in fails(
            "evaluate", bundle, data, *adapter[:2], "--predictions", out, "--resume"
        )
        assert "other settings (adapter, limits)" in fails("evaluate", bundle, data, "--predictions", out, "--resume")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matches, "generate_with", counted)
        resumed = run("evaluate", bundle, data, *adapter, "--json", "--predictions", out, *["--resume"] * bool(done))
    assert resumed.exit_code == 0, resumed.output
    assert resumed.stdout == whole.stdout
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()
    assert not kept.exists()
    assert len(batches) >= 5 - done


def test_there_is_nothing_to_resume(
    fails: Callable[..., str], bundle: Path, examples_file: Path, tmp_path: Path
) -> None:
    assert "give that too" in fails("evaluate", bundle, examples_file, "--resume")
    line = fails("evaluate", bundle, examples_file, "--resume", "--predictions", tmp_path / "x.jsonl")
    assert "no cells to resume from" in line


def test_without_resume_it_begins_anew_and_removes_nothing_else(
    run: Run, fails: Callable[..., str], bundle: Path, examples_file: Path, tmp_path: Path
) -> None:
    out, kept = tmp_path / "ev.jsonl", tmp_path / "ev.jsonl.cells.jsonl"
    kept.write_text("my own\n")
    assert "no file of cells" in fails("evaluate", bundle, examples_file, "--predictions", out)
    assert kept.read_text() == "my own\n"
    kept.write_text('{"name": "edge-lorahub cells", "format": 1, "digest": "x"}\n')
    begun = run("evaluate", bundle, examples_file, "--predictions", out)
    assert begun.exit_code == 0, begun.output
    assert "without --resume it begins anew" in " ".join(begun.stderr.split())
    assert not kept.exists()
