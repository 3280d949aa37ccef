"""The real adapters (t5-small, trained on CNN / Daily Mail) and real texts, at t5-small's dimensions.

The base model is random, for the real one is not at hand; the tokenizer, the adapters and the texts are real.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from oracle import Batch, Result, assert_same, merged, oracle_modules, oracle_result, our_result
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoTokenizer

from edge_lorahub import Model, Modules, load, read_examples
from edge_lorahub.composition.stack import make_stack, plain_inputs
from edge_lorahub.export import export
from edge_lorahub.testing.random_models import write_checkpoint

pytestmark = pytest.mark.oracle

NAMES = ("t5-small-cnndm-checkpoint-4000", "t5-small-cnndm-checkpoint-4487")
WEIGHTS = (1.3, -0.8)


class Real:
    """Both sides, with the two adapters."""

    def __init__(self, shared: Path, home: Path) -> None:
        self.folders = [shared / "adapters" / name for name in NAMES]
        checkpoint = write_checkpoint(home / "t5-small", "t5-small", tokenizer=shared / "t5-tokenizer")
        export(checkpoint, home / "bundle")
        self.ours: Model = load(home / "bundle", threads=2)
        self.oracle: PeftModel = oracle_modules(checkpoint, self.folders)
        examples = read_examples(shared / "bbh" / "date_understanding.json", limit=5, shuffle_seed=1)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        source = tokenizer([e.input for e in examples], padding=True, return_tensors="pt")
        target = tokenizer([e.output for e in examples], padding=True, return_tensors="pt")
        labels = target.input_ids.masked_fill(target.attention_mask == 0, -100)
        self.batch = Batch(examples, source.input_ids, source.attention_mask, labels)


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    home = tmp_path_factory.mktemp("real")
    yield Real(shared, home)
    shutil.rmtree(home)


def compose(real: Real, composition: str) -> Result:
    inputs = make_stack(list(Modules.load(real.folders)), real.ours.manifest, composition).inputs()
    inputs.compose(np.array(WEIGHTS))
    return our_result(real.ours, inputs, real.batch)


def test_exact(real: Real) -> None:
    with real.oracle.disable_adapter():
        plain = oracle_result(real.oracle, real.batch)
    with merged(real.oracle, dict(zip(NAMES, WEIGHTS, strict=True))):
        truth = oracle_result(real.oracle, real.batch)
    assert_same(our_result(real.ours, plain_inputs(real.ours.manifest.slots), real.batch), plain)
    assert_same(compose(real, "exact"), truth, other_than=plain)


def test_paper(real: Real) -> None:
    states = [load_file(folder / "adapter_model.safetensors") for folder in real.folders]
    with real.oracle.disable_adapter():
        plain = oracle_result(real.oracle, real.batch)
    set_peft_model_state_dict(
        real.oracle, {key: sum(w * s[key] for w, s in zip(WEIGHTS, states, strict=True)) for key in states[0]}, NAMES[0]
    )
    real.oracle.set_adapter(NAMES[0])
    truth = oracle_result(real.oracle, real.batch)
    set_peft_model_state_dict(real.oracle, states[0], NAMES[0])
    assert_same(compose(real, "paper"), truth, other_than=plain)
