"""config.json and generation_config.json against transformers: activations, and what starts and ends answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from scores import forced
from transformers import T5ForConditionalGeneration

from edge_lorahub import generate, load
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.export import export
from edge_lorahub.export.blocks.activations import ACTIVATIONS
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.testing.random_models import config, write_checkpoint

pytestmark = pytest.mark.oracle

TEXTS = [f"w{i} w{i + 9} w{2 * i}" for i in range(5, 25)]
PLAIN = {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}


def with_settings(folder: Path, size: str, **fields: object) -> Path:
    checkpoint = write_checkpoint(folder, size)
    (checkpoint / "config.json").write_text(json.dumps(config(size) | fields))
    return checkpoint


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("size", ["tiny", "tiny-t5"])
def test_dense_act_fn_goes_before_feed_forward_proj(name: str, size: str, tmp_path: Path) -> None:
    checkpoint = with_settings(tmp_path / "checkpoint", size, dense_act_fn=name)
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(3, 128, (2, 20)), rng.integers(3, 128, (2, 6))
    with torch.no_grad():
        oracle = T5ForConditionalGeneration.from_pretrained(checkpoint).eval()
        truth = oracle(input_ids=torch.tensor(ids), labels=torch.tensor(labels)).logits.numpy()
    export(checkpoint, tmp_path / "bundle")
    model = load(tmp_path / "bundle", threads=1)
    logits = forced(Runner(model, "score", plain_inputs(model.manifest.slots)), ids, np.ones_like(ids), labels)
    assert np.abs(logits - truth).max() <= 1e-5 * np.abs(truth).max()


@pytest.mark.parametrize("kind", ["relu", "gelu", "silu", "gated-gelu", "gated-relu", "gated-silu", "gated-gelu_new"])
def test_feed_forward_proj(kind: str, tmp_path: Path, run: Callable[..., Result]) -> None:
    size = "tiny" if kind.startswith("gated") else "tiny-t5"
    checkpoint = with_settings(tmp_path / "checkpoint", size, feed_forward_proj=kind)
    result = run("export", checkpoint, tmp_path / "bundle", "--verify")
    assert result.exit_code == 0, result.output


def test_is_gated_act_goes_before_feed_forward_proj(tmp_path: Path, run: Callable[..., Result]) -> None:
    fields = {"feed_forward_proj": "relu", "is_gated_act": True, "dense_act_fn": "gelu_new"}
    checkpoint = with_settings(tmp_path / "checkpoint", "tiny", **fields)
    assert run("export", checkpoint, tmp_path / "bundle", "--verify").exit_code == 0


@pytest.mark.filterwarnings("ignore:.*the former is used")
@pytest.mark.parametrize(
    "generation",
    [
        {},
        {"decoder_start_token_id": 7},
        {"eos_token_id": [1, 11, 58, 73, 20, 90, 33]},
        {"forced_bos_token_id": 99},
        {"forced_eos_token_id": 1},
        {"forced_bos_token_id": 99, "forced_eos_token_id": 17, "decoder_start_token_id": 3, "eos_token_id": [40, 1]},
    ],
)
def test_answers(generation: dict[str, object], tmp_path: Path) -> None:
    """Greedy answers of 20 texts in buckets; a file that has no word of a token leaves it to config.json."""
    checkpoint = with_settings(tmp_path / "checkpoint", "tiny")
    (checkpoint / "generation_config.json").write_text(json.dumps(PLAIN | generation))
    oracle = T5ForConditionalGeneration.from_pretrained(checkpoint).eval()
    ends = generation.get("eos_token_id", 1)
    truth = []
    for text in TEXTS:
        ids = [[int(word[1:]) for word in text.split()] + [1]]
        row = oracle.generate(torch.tensor(ids), max_new_tokens=12, do_sample=False, num_beams=1)[0, 1:].tolist()
        found = [i for i, token in enumerate(row) if token in np.atleast_1d(ends)]
        truth.append(" ".join(f"w{token}" for token in row[: found[0] if found else None] if token > 2))
    export(checkpoint, tmp_path / "bundle")
    assert generate(load(tmp_path / "bundle", threads=1), TEXTS, max_new_tokens=12) == truth
    assert len(set(truth)) > 5
