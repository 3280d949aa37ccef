"""The benchmark's answers are checked and its figures are there; no test looks at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from edge_lorahub.bench import adaptation_time as adaptation
from edge_lorahub.bench.roofline import Work, operations
from edge_lorahub.composition import paper as paper_stack
from edge_lorahub.errors import EdgeLorahubError
from edge_lorahub.runtime.encoder_decoder.stepping import Stepping
from edge_lorahub.testing.random_models import SIZES, linear_layers

ARGUMENTS = ("bench", "adapt", "--size", "tiny", "--modules", 3, "--rank", 2, "--length", 9, "--budget", 5, "--json")


def test_it_measures_what_it_says(run: Callable[..., Result], tmp_path: Path) -> None:
    report = json.loads(run(*ARGUMENTS, "--work", tmp_path / "work", "--threads", 1).stdout)
    facts = report["facts"]
    assert facts["candidates"] == 5
    assert facts["threads"] == 1
    assert facts["modules"] == "3 of rank 2"
    for name in ("export, s", "whole adapt, s", "a candidate, s", "adapt peak, MB", "export peak, MB"):
        assert facts[name] > 0
    assert 0 < facts["share of products in its runs"] < 1
    assert 0 < sum(row["share of the runs"] for row in report["tables"]["operators"]) < 1
    assert facts["instruction sets"]


def test_it_measures_int8(run: Callable[..., Result], tmp_path: Path) -> None:
    output = run(*ARGUMENTS, "--work", tmp_path / "work", "--threads", 1, "--precision", "int8").stdout
    facts = json.loads(output)["facts"]
    assert facts["precision"] == "int8"
    assert facts["rank correlation with fp32"] >= 0.95


def test_a_wrong_answer_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a merge that adds twice too much, the check before the timing fails."""
    from edge_lorahub.convert import bake as baking

    def wrong(weight, a, scale, b) -> None:  # type: ignore[no-untyped-def]
        weight += 2.0 * (a * scale) @ b

    monkeypatch.setattr(baking, "merge_dense", wrong)
    load = adaptation.Load("tiny", modules=1, rank=4, length=9, budget=2)
    with pytest.raises(EdgeLorahubError, match="composition of one module differs"):
        adaptation.measure(load, tmp_path, 1)


def test_latency_has_a_row_for_every_setting(run: Callable[..., Result], bundle: Path) -> None:
    report = json.loads(
        run("bench", "latency", bundle, "--length", 5, "--length", 9, "--batch-size", 1, "--batch-size", 2,
            "--threads", 1, "--modules", 2, "--rank", 3, "--rounds", 2, "--json").stdout
    )  # fmt: skip
    settings = [(row["length"], row["batch"]) for row in report["tables"]["generation"]]
    assert settings == [(5, 1), (5, 2), (9, 1), (9, 2)]
    assert len(report["tables"]["a candidate"]) == 8  # both compositions
    for row in report["tables"]["a candidate"]:
        assert 0 < row["candidate p50, ms"] <= row["candidate p90, ms"] <= row["candidate p99, ms"]
        assert min(row[f"{part}, ms"] for part in ("compose", "encode", "decode", "search")) > 0


def test_latency_of_wrong_tokens_is_not_timed(fails: Callable[..., str], bundle: Path, monkeypatch: Any) -> None:
    """With a cache that forgets what came before, the check before the timing fails."""

    step = Stepping.step

    def forgetful(self: Stepping, ids: np.ndarray) -> np.ndarray:
        self._past[()] = 0
        return step(self, ids)

    monkeypatch.setattr(Stepping, "step", forgetful)
    assert "one by one and at once differ" in fails("bench", "latency", bundle, "--rounds", 1)


def test_latency_refuses_what_cannot_be_drawn(fails: Callable[..., str], bundle: Path, tmp_path: Path) -> None:
    assert "a chart is .svg, .png or .pdf" in fails("bench", "latency", bundle, "--chart", tmp_path / "a.txt")
    assert "no such" in fails("bench", "latency", tmp_path / "none")


def test_roofline_counts_the_products_of_a_candidate(run: Callable[..., Result]) -> None:
    """Twice the weights' numbers for every token: the cross keys and values of the texts, absorbed of the answers."""
    report = json.loads(run("bench", "roofline", "--size", "tiny", "--threads", 1, "--json").stdout)
    encoder = 2 * (4 * 32 * 24 + 3 * 32 * 48)
    cross = 2 * 2 * 32 * 24
    decoder = 2 * (6 * 32 * 24 + 3 * 32 * 48)
    for absorbed, texts, answers in ((False, encoder + cross, decoder), (True, encoder, decoder + cross)):
        assert operations(Work("tiny", 350, 20, absorbed)) == 2 * (350 * texts + 20 * (answers + 128 * 32))
    assert [row["precision"] for row in report["tables"]["products"]] == ["fp32", "int8"]
    composing = report["tables"]["composing"]
    assert [(row["modules in"], row["candidates at once"]) for row in composing] == [
        ("float32", 1), ("float32", 6), ("int8", 1), ("int8", 6),
    ]  # fmt: skip
    assert all(row["share of memory's rate"] > 0 for row in composing)
    assert report["facts"]["memory read, GB/s"] > 0


@pytest.mark.oracle  # matplotlib comes with that group
def test_a_chart_is_drawn(run: Callable[..., Result], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    chart = tmp_path / "new" / "chart.svg"
    run("bench", "roofline", "--size", "tiny", "--threads", 1, "--chart", chart)
    assert "<svg" in chart.read_text()
    assert [p.name for p in chart.parent.iterdir()] == ["chart.svg"]


@pytest.mark.oracle
def test_peers_do_the_same_work(run: Callable[..., Result], tmp_path: Path) -> None:
    for name in ("lorahub", "ctranslate2", "optimum"):
        pytest.importorskip(name)
    report = json.loads(
        run("bench", "peers", "--size", "tiny", "--modules", 2, "--rank", 2, "--length", 9, "--budget", 3,
            "--rounds", 1, "--whole-rounds", 1, "--threads", 1, "--work", tmp_path / "work", "--json").stdout
    )  # fmt: skip
    assert {title: len(rows) for title, rows in report["tables"].items()} == {
        "a candidate": 5, "a whole adaptation": 5, "until the reference's loss": 3, "generation": 5,
    }  # fmt: skip
    (ours,) = (
        row for row in report["tables"]["a candidate"]
        if (row["who"], row["composition"]) == ("edge-lorahub fp32", "paper")
    )  # fmt: skip
    assert float(ours["loss off by"]) < 1e-4


def test_roofline_checks_what_is_composed(fails: Callable[..., str], monkeypatch: Any) -> None:
    monkeypatch.setattr(paper_stack, "quantize", lambda matrix: (np.ones(matrix.shape, np.int8), 1.0))
    assert "composing modules in int8 gives another adapter than in float32" in fails(
        "bench", "roofline", "--size", "tiny", "--threads", 1, "--modules", 2
    )


def test_an_unknown_size(fails: Callable[..., str]) -> None:
    assert "size 'flan-t5-xxl' is unknown; choose one of tiny, " in fails("bench", "adapt", "--size", "flan-t5-xxl")


def test_the_sizes_are_the_published_ones() -> None:
    """The number of parameters, as counted in the published checkpoints."""
    counts = {}
    for size in ("t5-small", "flan-t5-small", "flan-t5-base", "flan-t5-large"):
        c = SIZES[size]
        heads = 1 if c["tie_word_embeddings"] else 2
        norms = c["d_model"] * (5 * c["num_layers"] + 2)
        linear = sum(d_in * d_out for _, d_in, d_out in linear_layers(size))
        counts[size] = heads * c["vocab_size"] * c["d_model"] + norms + linear + 2 * 32 * c["num_heads"]
    assert counts == {
        "t5-small": 60_506_624,
        "flan-t5-small": 76_961_152,
        "flan-t5-base": 247_577_856,
        "flan-t5-large": 783_150_080,
    }
