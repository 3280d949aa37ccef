"""Merged decoder-only models in the tools that they are for: the tokens and logits of peft on the same model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from conversions import TOLERANCE, assert_same, convert, greedy, relative
from decoder_oracle import oracle_model
from decoders import TINY, complete, write_checkpoint, write_decoder_module
from peft import PeftModel

pytestmark = [
    pytest.mark.oracle,
    # torch's exporter of before traces a model of transformers: what they warn of is theirs
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning"),
]
ROWS = [np.random.default_rng(length).integers(3, 96, length).tolist() for length in range(3, 23)]


@pytest.mark.parametrize("family", ["llama-3", "qwen2"])
def test_checkpoint_and_optimum(family: str, tmp_path: Path) -> None:
    # optimum-onnx 0.1.0 takes hidden_size / heads for the size of a head
    config = TINY[family] | {"hidden_size": 64}
    base = write_checkpoint(tmp_path / "base", config)
    complete(base)
    module = write_decoder_module(tmp_path / "module", config)
    model = PeftModel.from_pretrained(oracle_model(base), module).eval()
    truth, answers = _logits(model, ROWS[-1]), greedy(model, ROWS, whole=True)
    with model.disable_adapter():
        assert relative(_logits(model, ROWS[-1]), truth) > 0.05
    merged = oracle_model(convert(module, "checkpoint", tmp_path / "merged", "--base", base))
    print(f"[measured] transformers, {family}: logits {relative(_logits(merged, ROWS[-1]), truth):.1e}")
    assert relative(_logits(merged, ROWS[-1]), truth) <= TOLERANCE
    assert_same(f"transformers, {family}", lambda: greedy(merged, ROWS, whole=True), answers)
    onnx = pytest.importorskip("optimum.onnxruntime")
    out = convert(module, "optimum", tmp_path / "optimum", "--base", base)
    theirs = onnx.ORTModelForCausalLM.from_pretrained(out, use_io_binding=False)
    ids = torch.tensor([ROWS[-1]])
    logits = np.asarray(theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0])
    print(f"[measured] optimum, {family}: logits {relative(logits, truth):.1e}")
    assert relative(logits, truth) <= TOLERANCE
    assert_same(f"optimum, {family}", lambda: greedy(theirs, ROWS, whole=True), answers)


def _logits(model: torch.nn.Module, row: list[int]) -> np.ndarray:
    with torch.no_grad():
        return model(input_ids=torch.tensor([row])).logits[0].numpy()
