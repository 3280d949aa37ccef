"""The whole chain on real inputs: T5's tokenizer, trained adapters, BIG-Bench Hard, at t5-small's dimensions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edge_lorahub.testing.random_models import write_checkpoint, write_module


@pytest.fixture(scope="module")
def t5_small(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    write_checkpoint(folder / "t5-small", "t5-small", tokenizer=shared / "t5-tokenizer")
    for index in range(18):
        write_module(folder / "modules" / f"random-{index}", "t5-small", seed=index)
    return folder


def test_export_adapt_generate_evaluate_inspect(t5_small: Path, shared: Path, run: Callable[..., Result]) -> None:
    bundle, out, data = t5_small / "bundle", t5_small / "out", shared / "bbh" / "date_understanding.json"

    def ok(*arguments: object) -> str:
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "36 slots (q,v)" in ok("export", t5_small / "t5-small", bundle)
    adapters = sorted((shared / "adapters").glob("t5-small-*"))
    modules = [part for folder in adapters for part in ("--module", folder)]
    report = ok(
        "adapt", bundle, data, "--limit", 5, "--shuffle-seed", 1, *modules, "--modules", t5_small / "modules",
        "--out", out, "--budget", 6,
    )  # fmt: skip
    assert "20 modules, 5 examples, CMA-ES with a surrogate" in report
    assert "t5-small-cnndm-checkpoint-4487" in report
    assert "weights" in json.loads(ok("inspect", out, "--json"))
    assert ok("generate", bundle, "--adapter", out, "--max-new-tokens", 4, "What is the date?").count("\n") == 1
    result = json.loads(ok("evaluate", bundle, data, "--adapter", out, "--limit", 6, "--max-new-tokens", 3, "--json"))
    assert result["count"] == 6


def test_the_trained_adapters_are_read_whole(shared: Path, run: Callable[..., Result]) -> None:
    facts = json.loads(run("inspect", shared / "adapters" / "t5-small-cnndm-checkpoint-4000", "--json").stdout)
    assert facts["kind"] == "module"
    assert facts["rank"] == "8"
    assert facts["scale"] == "2"  # alpha 16 / r 8
    assert facts["layers"] == "36 (q,v)"
    assert facts["parameters"] == 36 * 8 * (512 + 512)
