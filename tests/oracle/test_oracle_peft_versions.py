"""A saved adapter whose layers differ in rank, in other versions of peft: the same logits.

EDGE_LORAHUB_PEFTS names the Pythons that have them, with colons between; .ci/run makes some. Without it the peft that
is installed here is the only one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from oracle import TOLERANCE, VISIBLE, all_kinds, our_result, random_batch

from edge_lorahub import Modules, load
from edge_lorahub.composition.adapter import from_pairs
from edge_lorahub.composition.pairs import compose_pairs
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.export import export
from edge_lorahub.testing.random_models import write_checkpoint, write_module

pytestmark = pytest.mark.oracle

PYTHONS = [sys.executable, *filter(None, os.environ.get("EDGE_LORAHUB_PEFTS", "").split(os.pathsep))]
# Ranks, scales and layers all differ, so that one saved adapter has several ranks.
MODULES = (
    {"rank": 4, "alpha": 8, "kinds": ("q", "v")},
    {"rank": 2, "alpha": 3, "kinds": ("q", "k", "o", "wo")},
    {"rank": 8, "alpha": 8, "kinds": ("v", "wo")},
)


@pytest.mark.parametrize("python", PYTHONS)
def test_layers_of_different_ranks(python: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", "tiny")
    export(checkpoint, tmp_path / "bundle", slots=all_kinds("tiny"))
    ours = load(tmp_path / "bundle", threads=1)
    folders = [
        write_module(tmp_path / f"module-{i}", "tiny", seed=i, std=0.1, **settings)
        for i, settings in enumerate(MODULES)
    ]
    pairs = compose_pairs(list(Modules.load(folders)), np.array([0.9, -1.3, 0.6]), "exact")
    adapter = from_pairs(pairs, ours.manifest, "composed")
    assert len({len(lora.a) for lora in adapter.pairs.values()}) > 2
    adapter.save(tmp_path / "adapter")
    batch = random_batch(128)
    np.savez(tmp_path / "batch.npz", ids=batch.ids.numpy(), mask=batch.mask.numpy(), labels=batch.labels.numpy())
    program = Path(__file__).parents[1] / "helpers" / "peft_logits.py"
    arguments = [checkpoint, tmp_path / "adapter", tmp_path / "batch.npz", tmp_path / "logits.npy"]
    done = subprocess.run([python, program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    truth = np.load(tmp_path / "logits.npy")
    largest = np.abs(truth).max()
    difference = np.abs(our_result(ours, adapter.inputs(ours.manifest), batch).logits - truth).max() / largest
    print(f"[measured] {python}: logits {difference:.1e}")
    assert difference <= TOLERANCE
    plain = our_result(ours, plain_inputs(ours.manifest.slots), batch).logits
    assert np.abs(plain - truth).max() / largest > VISIBLE
