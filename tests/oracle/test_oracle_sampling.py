"""Sampling against transformers: its logits processors, and whole answers with a repetition penalty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
import transformers
from transformers.generation import logits_process

from edge_lorahub import Model, Sampling, generate
from edge_lorahub.runtime.sampling import Distribution

pytestmark = pytest.mark.oracle

SETTINGS: list[dict[str, Any]] = [
    {}, {"temperature": 0.3}, {"temperature": 2.0}, {"top_k": 1}, {"top_k": 50}, {"top_k": 10**6}, {"top_p": 0.1},
    {"top_p": 0.9}, {"top_p": 0.999}, {"min_p": 0.05}, {"min_p": 0.9}, {"min_p": 0.0}, {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.7}, {"temperature": 0.7, "top_k": 40, "top_p": 0.95, "repetition_penalty": 1.1},
    {"temperature": 1.5, "top_p": 0.8, "min_p": 0.1}, {"temperature": 1.7, "top_k": 300, "top_p": 0.6, "min_p": 0.02},
]  # fmt: skip


def theirs(logits: np.ndarray, ids: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The probabilities, (V,), in the order in which transformers' generate applies its processors."""
    processors = logits_process.LogitsProcessorList()
    if sampling.repetition_penalty != 1:
        processors.append(logits_process.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    processors.append(logits_process.TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k is not None:
        processors.append(logits_process.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None:
        processors.append(logits_process.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p is not None:
        processors.append(logits_process.MinPLogitsWarper(sampling.min_p))
    scores = processors(torch.tensor(ids[None]), torch.tensor(logits[None]).clone())
    return scores.double().softmax(dim=-1)[0].numpy()


@pytest.mark.parametrize("fields", SETTINGS, ids=str)
@pytest.mark.parametrize(("vocabulary", "spread"), [(32128, 1), (32128, 4), (128, 2), (2, 1)])
def test_the_same_tokens_are_kept_with_the_same_probabilities(
    fields: dict[str, Any], vocabulary: int, spread: float
) -> None:
    sampling = Sampling(**fields)
    ours = Distribution(sampling, vocabulary)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        logits = (rng.standard_normal(vocabulary) * spread).astype(np.float32)
        said = rng.integers(0, vocabulary, 20)  # some more than once
        had = np.isin(np.arange(vocabulary), said)
        expected = theirs(logits, said, sampling)
        ids, weights = ours(logits, had)
        found = np.zeros(vocabulary)
        found[ids] = weights / weights.sum()
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_array_equal(np.flatnonzero(found), np.flatnonzero(expected))


def test_generate_has_this_order_of_processors() -> None:
    config = transformers.GenerationConfig(
        do_sample=True, temperature=0.7, top_k=40, top_p=0.9, min_p=0.1, repetition_penalty=1.2
    )
    model = transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=8, d_model=4, d_kv=2, d_ff=4, num_layers=1, num_heads=1)
    )
    found = model._get_logits_processor(config, input_ids_seq_length=1, device="cpu")
    assert [type(processor).__name__ for processor in found] == [
        "RepetitionPenaltyLogitsProcessor", "TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper",
        "MinPLogitsWarper",
    ]  # fmt: skip


@pytest.mark.parametrize("penalty", [0.8, 1.2, 3.0])
def test_greedy_answers_with_a_repetition_penalty(model: Model, checkpoint: Path, penalty: float) -> None:
    """The decoder's start token counts as said, the source does not."""
    oracle = transformers.T5ForConditionalGeneration.from_pretrained(checkpoint)
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(3, 128, rng.integers(1, 40))) for _ in range(12)]
    expected = []
    for row in model.tokens.encode(texts, 99):
        ids = oracle.generate(
            input_ids=torch.tensor(row[None]), do_sample=False, max_new_tokens=20, repetition_penalty=penalty
        )[0, 1:]
        expected.append(model.tokens.decode([ids.numpy()])[0])
    found = generate(model, texts, sampling=Sampling(temperature=0, repetition_penalty=penalty), max_new_tokens=20)
    assert found == expected
    assert found != generate(model, texts, max_new_tokens=20)
