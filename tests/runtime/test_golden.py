"""The tiny models of every family against what transformers and peft computed: see golden/make.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scores import forced

from edge_lorahub import Model, load, load_adapter
from edge_lorahub.composition.inputs import LoraInputs
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.export import export
from edge_lorahub.label_logits import scored
from edge_lorahub.runtime.answers import greedy
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.testing.random_models import write_checkpoint, write_module

KINDS = ("q", "v", "wo")  # as in golden/make.py
LENGTHS = (150, 31, 4)
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "golden.npz")


@pytest.fixture(scope="module", params=["tiny", "tiny-t5", "tiny-mt5"])
def cases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Model, LoraInputs]]:
    """The plain model and the model with a module, of one family."""
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = write_checkpoint(folder / request.param, request.param)
    module = write_module(folder / "lora", request.param, seed=7, rank=3, kinds=KINDS, std=0.1)
    manifest = export(checkpoint, folder / "bundle", slots=KINDS)
    model = load(folder / "bundle", threads=1)
    return {
        f"{request.param}.plain": (model, plain_inputs(manifest.slots)),
        f"{request.param}.module": (model, load_adapter(module, manifest).inputs(manifest)),
    }


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    ids = rng.randint(3, 128, (len(LENGTHS), max(LENGTHS)))
    mask = (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]).astype(np.int64)
    return ids * mask, mask, rng.randint(3, 128, (len(LENGTHS), 6))


def test_logits_and_loss(cases: dict[str, tuple[Model, LoraInputs]]) -> None:
    ids, mask, labels = batch()
    for name, (model, inputs) in cases.items():
        logits = forced(Runner(model, "score", inputs), ids, mask, labels)
        expected = GOLDEN[f"{name}.logits"]
        assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()
        loss = sum(scored(*pair)[0] for pair in zip(logits, labels, strict=True)) / labels.size
        assert loss == pytest.approx(float(GOLDEN[f"{name}.loss"]), abs=1e-5)


def test_a_module_changes_the_logits(cases: dict[str, tuple[Model, LoraInputs]]) -> None:
    plain, module = (GOLDEN[f"{name}.logits"] for name in cases)
    assert np.abs(plain - module).max() > 0.05 * np.abs(plain).max()


def test_greedy_tokens(cases: dict[str, tuple[Model, LoraInputs]]) -> None:
    ids, _, _ = batch()
    rows = [row[:length] for row, length in zip(ids, LENGTHS, strict=True)]
    for name, (model, inputs) in cases.items():
        expected = GOLDEN[f"{name}.greedy"][:, 1:]  # transformers repeats the decoder's start token
        for found, row in zip(greedy(Runner(model, "generate", inputs), rows, 12), expected, strict=True):
            ends = np.flatnonzero(row == 1)
            assert found.tolist() == (row[: ends[0]] if len(ends) else row).tolist()
