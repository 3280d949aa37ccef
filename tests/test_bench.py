"""The benchmark's answers are checked and its figures are there; no test looks at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edge_lorahub.bench import adaptation
from edge_lorahub.bench.random_models import SIZES, linear_layers
from edge_lorahub.errors import EdgeLorahubError

ARGUMENTS = ("bench", "adapt", "--size", "tiny", "--modules", 3, "--rank", 2, "--length", 9, "--budget", 5, "--json")


def test_it_measures_what_it_says(run: Callable[..., Result], tmp_path: Path) -> None:
    facts = json.loads(run(*ARGUMENTS, "--work", tmp_path / "work", "--threads", 1).stdout)
    assert facts["candidates"] == 5
    assert facts["threads"] == 1
    assert facts["modules"] == "3 of rank 2"
    for name in ("export, s", "whole adapt, s", "a candidate, s", "adapt peak, MB", "export peak, MB"):
        assert facts[name] > 0


def test_it_measures_int8(run: Callable[..., Result], tmp_path: Path) -> None:
    facts = json.loads(run(*ARGUMENTS, "--work", tmp_path / "work", "--threads", 1, "--precision", "int8").stdout)
    assert facts["precision"] == "int8"
    assert facts["rank correlation with fp32"] >= 0.95


def test_a_wrong_answer_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a merge that adds twice too much, the check before the timing fails."""
    from edge_lorahub import baking

    def wrong(weight, a, scale, b) -> None:  # type: ignore[no-untyped-def]
        weight += 2.0 * (a * scale) @ b

    monkeypatch.setattr(baking, "merge_dense", wrong)
    load = adaptation.Load("tiny", modules=1, rank=4, length=9, budget=2)
    with pytest.raises(EdgeLorahubError, match="composition of one module differs"):
        adaptation.measure(load, tmp_path, 1)


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
