"""A long evaluation that was ended goes on, and ends in the same predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from tokenizers import Encoding

from edge_lorahub.evaluation import matches
from edge_lorahub.runtime.tokens import Tokens

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
    real, left, batches = matches.answered, iter(range(done)), []

    def ended(*arguments: Any, **options: Any) -> Iterator[tuple[list[int], list[str]]]:
        for batch in real(*arguments, **options):
            if next(left, None) is None:
                raise KeyboardInterrupt
            yield batch

    def counted(*arguments: Any, **options: Any) -> Iterator[tuple[list[int], list[str]]]:
        for members, answers in real(*arguments, **options):
            batches.extend([1] * bool(answers))
            yield members, answers

    kept = tmp_path / "ev.jsonl.unfinished.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matches, "answered", ended)
        said = run("evaluate", bundle, data, *adapter, "--predictions", out).stderr
    assert not out.exists()
    assert kept.exists() == bool(done)
    if done:
        assert "the same command with --resume goes on" in said
        assert "made, which" in said
        assert "cell" not in said
        assert "predictions made with other settings (batch_size, max_new_tokens); resume with" in fails(
            "evaluate", bundle, data, *adapter[:2], "--predictions", out, "--resume"
        )
        assert "other settings (adapter, batch_size, max_new_tokens)" in fails(
            "evaluate", bundle, data, "--predictions", out, "--resume"
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matches, "answered", counted)
        resumed = run("evaluate", bundle, data, *adapter, "--json", "--predictions", out, *["--resume"] * bool(done))
    assert resumed.exit_code == 0, resumed.output
    assert resumed.stdout == whole.stdout
    assert out.read_text() == (tmp_path / "whole.jsonl").read_text()
    assert not kept.exists()
    assert len(batches) >= 5 - done
    line = fails("evaluate", bundle, data, *adapter, "--predictions", out, "--resume")
    assert f"{out}: complete already" in line
    assert "no predictions to resume from" in fails(
        "evaluate", bundle, data, *adapter, "--predictions", tmp_path / "other.jsonl", "--resume"
    )


def test_inputs_are_read_once_and_warned_of_once(
    run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With predictions that are kept as without."""
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"input": "w9 w9 w9 w9 " * i, "output": "w2"}) + "\n" for i in range(1, 9)))
    read: list[int] = []
    real = Tokens.encodings

    def encodings(self: Tokens, texts: list[str], *arguments: Any, **options: Any) -> list[Encoding]:
        read.extend(1 for text in texts if text.startswith("w9"))
        return real(self, texts, *arguments, **options)

    monkeypatch.setattr(Tokens, "encodings", encodings)
    for more in ((), ("--predictions", tmp_path / "p.jsonl")):
        read.clear()
        said = run("evaluate", bundle, data, "--max-new-tokens", 2, "--batch-size", 2, "--max-input-tokens", 20, *more)
        assert said.exit_code == 0, said.output
        assert len(read) == 8
        assert [line.split()[2] for line in said.stderr.splitlines() if "is cut to 20" in line] == ["5", "6", "7", "8"]


def test_there_is_nothing_to_resume(
    fails: Callable[..., str], bundle: Path, examples_file: Path, tmp_path: Path
) -> None:
    assert "give that too" in fails("evaluate", bundle, examples_file, "--resume")
    line = fails("evaluate", bundle, examples_file, "--resume", "--predictions", tmp_path / "x.jsonl")
    assert "no predictions to resume from" in line


def test_a_file_of_something_else_is_not_overwritten(
    run: Run, fails: Callable[..., str], bundle: Path, examples_file: Path, tmp_path: Path
) -> None:
    for content in ("my own\n", '{"input": "a", "output": "b"}\n', "[]\n"):
        (tmp_path / "mine.jsonl").write_text(content)
        line = fails("evaluate", bundle, examples_file, "--predictions", tmp_path / "mine.jsonl")
        assert "has no predictions of an earlier evaluation" in line
        assert (tmp_path / "mine.jsonl").read_text() == content
    for _ in range(2):  # what it wrote itself may be overwritten
        assert run("evaluate", bundle, examples_file, "--predictions", tmp_path / "out.jsonl").exit_code == 0


def test_without_resume_it_begins_anew_and_removes_nothing_else(
    run: Run, fails: Callable[..., str], bundle: Path, examples_file: Path, tmp_path: Path
) -> None:
    out, kept = tmp_path / "ev.jsonl", tmp_path / "ev.jsonl.unfinished.jsonl"
    kept.write_text("my own\n")
    assert "no file of predictions" in fails("evaluate", bundle, examples_file, "--predictions", out)
    assert kept.read_text() == "my own\n"
    kept.write_text('{"name": "edge-lorahub cells", "format": 1, "digest": "x"}\n')
    begun = run("evaluate", bundle, examples_file, "--predictions", out)
    assert begun.exit_code == 0, begun.output
    assert "without --resume it begins anew" in " ".join(begun.stderr.split())
    assert not kept.exists()
