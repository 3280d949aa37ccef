"""Logits, loss and greedy tokens against transformers + peft, at the exact dimensions of published models.

The tiny sizes have every linear layer as a slot, and modules on all of them; the real sizes have q and v, as
the published modules do. Weights are seeded random ones: see bench/random_models.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from oracle import (
    EOS,
    Batch,
    Result,
    all_kinds,
    assert_same,
    merged,
    oracle_modules,
    oracle_result,
    our_result,
    pad,
    random_batch,
    words,
)
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from edge_lorahub import Adapter, Model, Modules, generate, load, load_adapter
from edge_lorahub.composition.inputs import LoraInputs
from edge_lorahub.composition.stack import make_stack, plain_inputs
from edge_lorahub.export import export
from edge_lorahub.runtime.answers import greedy
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.testing.random_models import SIZES, write_checkpoint, write_module

pytestmark = pytest.mark.oracle

FAMILIES = {"tiny": "t5", "tiny-t5": "t5", "tiny-mt5": "mt5", "t5-small": "t5", "flan-t5-small": "t5"}
FAMILIES |= {"flan-t5-base": "t5"}
# (rank, alpha): three modules of each rank share their scale, as the released code takes it for granted
RANKS = {8: (16, 16, 16, 4), 16: (32, 32, 32, 48)}
WEIGHTS = (0.7, -1.2, 0.4)
# Of B. Eight such modules move flan-t5-small's logits by 0.65 of the largest one. At 0.03 they move them by 1.2,
# and random attention is then so sharp that torch's own float32 is 2.1e-5 away from its float64 (ours: 2.3e-5).
STD = 0.01
NEW_TOKENS = 32
INPUTS = 20


@dataclass(frozen=True)
class Pair:
    """One checkpoint on both sides, with the same modules."""

    ours: Model
    oracle: PeftModel
    folders: dict[int, list[Path]]  # by rank
    batch: Batch

    def check(self, inputs: LoraInputs, truth: Result, other_than: Result | None = None) -> None:
        for short in (False, True):
            assert_same(our_result(self.ours, inputs, self.batch, short=short), truth, other_than)

    def all_folders(self) -> list[Path]:
        return [folder for folders in self.folders.values() for folder in folders]


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    size = request.param
    home = tmp_path_factory.mktemp(size)
    kinds = all_kinds(size) if size.startswith("tiny") else ("q", "v")
    checkpoint = write_checkpoint(home / size, size)
    if SIZES[size]["tie_word_embeddings"]:
        soften_embedding(checkpoint)
    export(checkpoint, home / "bundle", slots=kinds)
    folders = {
        rank: [
            write_module(home / f"r{rank}-{i}", size, seed=rank + i, rank=rank, alpha=alpha, kinds=kinds, std=STD)
            for i, alpha in enumerate(alphas)
        ]
        for rank, alphas in RANKS.items()
    }
    oracle = oracle_modules(checkpoint, [f for group in folders.values() for f in group])
    assert oracle.base_model.model.config.model_type == FAMILIES[size]
    ours = load(home / "bundle", threads=2)
    yield Pair(ours, oracle, folders, random_batch(SIZES[size]["vocab_size"]))
    shutil.rmtree(home)  # flan-t5-base takes 2 GB of disk


def soften_embedding(checkpoint: Path) -> None:
    """With random weights a tied head repeats the token that it reads, until the layers outweigh the embedding."""
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    tensors["shared.weight"] *= 0.05
    save_file(tensors, path, {"format": "pt"})


def test_plain_model(pair: Pair) -> None:
    with pair.oracle.disable_adapter():
        truth = oracle_result(pair.oracle, pair.batch)
    pair.check(plain_inputs(pair.ours.manifest.slots), truth)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("which", [0, 3])
def test_one_module(pair: Pair, rank: int, which: int) -> None:
    folder = pair.folders[rank][which]
    with pair.oracle.disable_adapter():
        plain = oracle_result(pair.oracle, pair.batch)
    pair.oracle.set_adapter(folder.name)
    truth = oracle_result(pair.oracle, pair.batch)
    inputs = load_adapter(folder, pair.ours.manifest).inputs(pair.ours.manifest)
    pair.check(inputs, truth, other_than=plain)


@pytest.mark.parametrize("rank", RANKS)
def test_paper_mode_is_the_composed_state_dict(pair: Pair, rank: int) -> None:
    """The released code: both lora_A and lora_B are weighted sums, set into a module's place."""
    folders = pair.folders[rank][:3]
    states = [load_file(folder / "adapter_model.safetensors") for folder in folders]
    composed = {key: sum(w * state[key] for w, state in zip(WEIGHTS, states, strict=True)) for key in states[0]}
    name = folders[0].name
    pair.oracle.set_adapter(name)
    one = oracle_result(pair.oracle, pair.batch)
    set_peft_model_state_dict(pair.oracle, composed, name)
    truth = oracle_result(pair.oracle, pair.batch)
    set_peft_model_state_dict(pair.oracle, states[0], name)
    inputs = make_stack(list(Modules.load(folders)), pair.ours.manifest, "paper").inputs()
    inputs.compose(np.array(WEIGHTS))
    pair.check(inputs, truth, other_than=one)


def test_exact_mode_is_the_sum_of_merged_deltas(pair: Pair) -> None:
    """Eight modules of two ranks and four scales: W + sum w_i delta_i, from peft's get_delta_weight."""
    folders = pair.all_folders()
    weights = np.linspace(-0.8, 0.9, len(folders))
    with pair.oracle.disable_adapter():
        plain = oracle_result(pair.oracle, pair.batch)
    with merged(pair.oracle, dict(zip([f.name for f in folders], weights.tolist(), strict=True))):
        truth = oracle_result(pair.oracle, pair.batch)
    inputs = make_stack(list(Modules.load(folders)), pair.ours.manifest, "exact").inputs()
    inputs.compose(weights)
    pair.check(inputs, truth, other_than=plain)


def test_greedy_tokens(pair: Pair) -> None:
    """32 new tokens of 20 texts, plain and with a module."""
    rng = np.random.default_rng(2)
    vocabulary = pair.ours.manifest.model.vocab_size
    rows = [np.append(rng.integers(3, vocabulary, length), EOS) for length in rng.integers(1, 60, INPUTS)]
    folder = pair.folders[16][0]
    with pair.oracle.disable_adapter():
        plain = oracle_tokens(pair.oracle, rows)
    pair.oracle.set_adapter(folder.name)
    adapted = oracle_tokens(pair.oracle, rows)
    assert plain != adapted
    for truth in (plain, adapted):
        assert len({tuple(row) for row in truth}) > INPUTS // 2, "answers that do not depend on the text"
        assert max(len(set(row)) for row in truth) > 3, "one token over and over"
    assert_same_answers(pair.ours, rows, None, plain)
    assert_same_answers(pair.ours, rows, load_adapter(folder, pair.ours.manifest), adapted)


def oracle_tokens(model: PeftModel, rows: list[np.ndarray]) -> list[list[int]]:
    """transformers' greedy tokens up to the end token, all texts in one batch."""
    ids, mask = pad(rows)
    with torch.no_grad():
        generated = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, num_beams=1, max_new_tokens=NEW_TOKENS
        )
    answers = generated[:, 1:].tolist()  # without the decoder's start token
    return [row[: row.index(EOS)] if EOS in row else row for row in answers]


def assert_same_answers(model: Model, rows: list[np.ndarray], adapter: Adapter | None, truth: list[list[int]]) -> None:
    """Ours in one batch of ids, and from texts in buckets of at most 7."""
    inputs = adapter.inputs(model.manifest) if adapter else plain_inputs(model.manifest.slots)
    answers = greedy(Runner(model, "generate", inputs), rows, NEW_TOKENS)
    assert [answer.tolist() for answer in answers] == truth
    texts = generate(model, [words(row) for row in rows], adapter=adapter, max_new_tokens=NEW_TOKENS, batch_size=7)
    assert texts == [words(row) for row in truth]
