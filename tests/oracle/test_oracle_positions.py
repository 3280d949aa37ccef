"""The relative position buckets against transformers' T5Attention."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from safetensors.numpy import load_file, save_file
from scores import forced
from transformers import T5ForConditionalGeneration
from transformers.models.mt5.modeling_mt5 import MT5Attention
from transformers.models.t5.modeling_t5 import T5Attention

from edge_lorahub import load
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import SettingsError
from edge_lorahub.export import export
from edge_lorahub.export.blocks.relative_positions import reach, relative_buckets
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.testing.random_models import write_checkpoint

pytestmark = pytest.mark.oracle

DISTANCES = np.arange(-300, 301)


@pytest.mark.parametrize("attention", [T5Attention, MT5Attention])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("buckets", "farthest"),
    [(32, 128), (32, 64), (32, 100), (32, 256), (16, 128), (8, 16), (64, 256), (128, 512), (12, 77), (34, 129)],
)
def test_every_distance(attention: type[torch.nn.Module], bidirectional: bool, buckets: int, farthest: int) -> None:
    truth = attention._relative_position_bucket(
        torch.as_tensor(DISTANCES), bidirectional=bidirectional, num_buckets=buckets, max_distance=farthest
    )
    ours = relative_buckets(DISTANCES, bidirectional=bidirectional, buckets=buckets, max_distance=farthest)
    np.testing.assert_array_equal(ours, truth.numpy())


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("buckets", [*range(4, 34), 64, 128])
def test_as_far_as_transformers_has_buckets(bidirectional: bool, buckets: int) -> None:
    """Every farthest distance from 1 on, within the exact buckets too; one token more, and there is no bucket."""
    for farthest in (*range(1, 40), 100, 128, 129):
        found = reach(bidirectional=bidirectional, buckets=buckets, max_distance=farthest)
        most = min(300, found.farthest if found.longest is not None else 300)
        distances = np.arange(-most, most + 1)

        def truth(distances: np.ndarray, most: int = farthest) -> np.ndarray:
            return T5Attention._relative_position_bucket(
                torch.as_tensor(distances), bidirectional=bidirectional, num_buckets=buckets, max_distance=most
            ).numpy()

        ours = relative_buckets(distances, bidirectional=bidirectional, buckets=buckets, max_distance=farthest)
        np.testing.assert_array_equal(ours, truth(distances))
        assert 0 <= ours.min() <= ours.max() < buckets
        if found.longest is not None and found.longest < 1000:
            assert truth(np.array([-found.longest])) < 0
            assert relative_buckets(
                np.array([-found.longest]), bidirectional=bidirectional, buckets=buckets, max_distance=farthest
            ) == [-1]


@pytest.mark.parametrize(("buckets", "farthest"), [(32, 12), (32, 16), (32, 3), (8, 4), (32, 17), (4, 2), (32, 1)])
def test_logits_of_small_distances(buckets: int, farthest: int, tmp_path: Path) -> None:
    """As long as transformers answers; where its buckets end, both refuse."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint", "tiny")
    settings = json.loads((checkpoint / "config.json").read_text())
    settings |= {"relative_attention_num_buckets": buckets, "relative_attention_max_distance": farthest}
    (checkpoint / "config.json").write_text(json.dumps(settings))
    tensors = load_file(checkpoint / "model.safetensors")
    for name, array in tensors.items():
        if "relative_attention_bias" in name:
            tensors[name] = array[:buckets].copy()
    save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    manifest = export(checkpoint, tmp_path / "bundle")
    model, oracle = load(tmp_path / "bundle", threads=1), T5ForConditionalGeneration.from_pretrained(checkpoint)
    texts, answers = manifest.model.longest_input or 40, manifest.model.longest_output or 40
    rng = np.random.default_rng(0)
    for more in (0, 1):
        ids = rng.integers(3, 128, (2, min(texts + (0 if manifest.model.longest_input is None else more), 60)))
        labels = rng.integers(3, 128, (2, min(answers + (0 if manifest.model.longest_output is None else more), 60)))
        try:
            with torch.no_grad():
                truth = oracle(input_ids=torch.tensor(ids), labels=torch.tensor(labels)).logits.numpy()
        except IndexError:
            with pytest.raises(SettingsError, match="the model's relative positions end at"):
                forced(Runner(model, "score", plain_inputs(manifest.slots)), ids, np.ones_like(ids), labels)
            assert more == 1
            continue
        logits = forced(Runner(model, "score", plain_inputs(manifest.slots)), ids, np.ones_like(ids), labels)
        assert np.abs(logits - truth).max() <= 1e-5 * np.abs(truth).max()
