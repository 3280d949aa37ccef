"""Tiny decoder-only models against what transformers and peft computed: see golden/make_decoders.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from decoders import TINY, Exported, export_decoder, no_lora, random_lora, random_texts, write_checkpoint

from edge_lorahub.runtime.decoder_only.packing import Text

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "decoders.npz")


@pytest.fixture(scope="module", params=["llama-3", "qwen2"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def exported(family: str, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp(family)
    return export_decoder(write_checkpoint(folder / "checkpoint", TINY[family]), folder / "graphs")


def inputs(exported: Exported, form: str) -> dict[str, np.ndarray]:
    return random_lora(exported.slots) if form == "lora" else no_lora(exported.slots)


def texts(exported: Exported) -> list[Text]:
    return random_texts(exported.config.vocab_size)


@pytest.mark.parametrize("form", ["plain", "lora"])
@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
def test_logits_and_losses(exported: Exported, family: str, form: str, batch_tokens: int) -> None:
    expected = GOLDEN[f"{family}.{form}.logits"]
    found = np.concatenate(exported.logits(texts(exported), inputs(exported, form), batch_tokens))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    labels = [text.ids[text.start :] for text in texts(exported)]
    exact = expected.astype(np.float64)
    chosen = exact[np.arange(len(exact)), np.concatenate(labels)]
    per_token = np.log(np.exp(exact).sum(axis=1)) - chosen
    sums = [part.sum() for part in np.split(per_token, np.cumsum([len(mine) for mine in labels])[:-1])]
    losses = exported.losses(texts(exported), inputs(exported, form), batch_tokens)
    np.testing.assert_allclose(losses.sums, sums, rtol=1e-5)
    assert losses.tokens.tolist() == [len(mine) for mine in labels]


@pytest.mark.parametrize("form", ["plain", "lora"])
def test_greedy_tokens(exported: Exported, family: str, form: str) -> None:
    """Of prompts of several lengths in one batch, past the cache's first room."""
    expected = GOLDEN[f"{family}.{form}.greedy"]
    prompts = [text.ids for text in texts(exported)]
    found = exported.greedy(inputs(exported, form), prompts, expected.shape[1])
    assert np.array_equal(found, expected)


def test_the_lora_changes_the_logits(family: str) -> None:
    plain, lora = (GOLDEN[f"{family}.{form}.logits"] for form in ("plain", "lora"))
    assert np.abs(plain - lora).max() > 0.05 * np.abs(plain).max()
