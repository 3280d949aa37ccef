"""How far a model's relative positions go, and what happens beyond."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edge_lorahub.bundle.manifest import read_manifest
from edge_lorahub.export.blocks.relative_positions import Reach, reach
from edge_lorahub.testing.random_models import write_checkpoint


def changed(folder: Path, **fields: object) -> Path:
    checkpoint = write_checkpoint(folder, "tiny")
    settings = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(settings | fields))
    return checkpoint


def test_published_models_have_no_end() -> None:
    for bidirectional in (True, False):
        assert reach(bidirectional=bidirectional, buckets=32, max_distance=128) == Reach(128, None)


def test_backwards_the_logarithm_leaves_the_table() -> None:
    """16 exact buckets and a distance of 12: 16 + 16 ln(d / 16) / ln(12 / 16) is below 0 from d = 22 on."""
    assert reach(bidirectional=False, buckets=32, max_distance=12) == Reach(21, 22)
    assert reach(bidirectional=True, buckets=32, max_distance=12) == Reach(12, None)
    # the last exact distance: division by ln 1 = 0 beyond
    assert reach(bidirectional=False, buckets=32, max_distance=16) == Reach(15, 16)


def test_enormous_distances_do_not_make_an_enormous_table(tmp_path: Path, run: Callable[..., Result]) -> None:
    checkpoint = changed(tmp_path / "checkpoint", relative_attention_max_distance=2**31 - 1)
    assert run("export", checkpoint, tmp_path / "bundle").exit_code == 0
    assert read_manifest(tmp_path / "bundle").model.longest_input == 2**16 + 1
    assert sum(file.stat().st_size for file in (tmp_path / "bundle").iterdir()) < 10e6


def test_a_text_beyond_the_last_position_is_refused_and_an_answer_ends_there(
    tmp_path: Path, run: Callable[..., Result], fails: Callable[..., str]
) -> None:
    checkpoint = changed(tmp_path / "checkpoint", relative_attention_max_distance=4)
    bundle = tmp_path / "bundle"
    assert run("export", checkpoint, bundle).exit_code == 0
    model = read_manifest(bundle).model
    assert (model.longest_input, model.longest_output) == (18, 70)
    text = " ".join(f"w{i}" for i in range(3, 21))  # and the end token
    assert "a text of 19 tokens, but the model's relative positions end at 18" in fails("generate", bundle, text)
    assert run("generate", bundle, text, "--max-input-tokens", 18, "--max-new-tokens", 70).exit_code == 0
    endless = [f"w{i}" for i in range(3, 60)]  # of which some answer does not end by itself
    longer, whole = (run("generate", bundle, *endless, "--max-new-tokens", most) for most in (71, 70))
    assert "answers are cut where the model's positions end" in longer.stderr
    assert (longer.stdout, whole.stderr) == (whole.stdout, "")


@pytest.mark.parametrize("value", [-1, 1.5, "128", True, 10**30])
def test_distances_that_are_none(value: object, tmp_path: Path, fails: Callable[..., str]) -> None:
    checkpoint = changed(tmp_path / "checkpoint", relative_attention_max_distance=value)
    line = fails("export", checkpoint, tmp_path / "bundle")
    assert "relative_attention_max_distance must be a whole number of at" in line
