"""optimum's export of the same checkpoint, traced by torch, as a second and independent reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("optimum.onnxruntime")

import torch
from optimum.onnxruntime import ORTModelForSeq2SeqLM
from oracle import PAD, Result, our_result, random_batch

from edge_lorahub import load
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.export import export
from edge_lorahub.testing.random_models import write_checkpoint

# torch's exporter of before traces a model of transformers: what they warn of is theirs
pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"),
]


@pytest.mark.parametrize("size", ["tiny", "tiny-t5"])
def test_optimum_computes_the_same_logits(size: str, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / size, size)
    export(checkpoint, tmp_path / "bundle")
    batch = random_batch(128)
    optimum = ORTModelForSeq2SeqLM.from_pretrained(checkpoint, export=True, use_cache=False)
    start = torch.full((5, 1), PAD)  # T5's decoder starts with the padding token
    shifted = torch.cat([start, batch.labels.clamp(min=PAD)[:, :-1]], dim=1)
    output = optimum(input_ids=batch.ids, attention_mask=batch.mask, decoder_input_ids=shifted)
    truth = Result(np.asarray(output.logits), 0.0)
    ours = load(tmp_path / "bundle", threads=1)
    difference = our_result(ours, plain_inputs(ours.manifest.slots), batch).difference(truth)
    print(f"[measured] logits {difference:.1e}")
    assert difference <= 1e-4
