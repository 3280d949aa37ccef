"""Decoder-only checkpoints as transformers saves them: config.json in its own words, tensors in shards.

For transformers 4 and 5, whose files differ; needs no peft.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from decoders import TINY, export_decoder, no_lora, random_texts, skip_if_too_old
from transformers import AutoConfig, AutoModelForCausalLM

from edge_lorahub.bundle.architectures import DECODER_ONLY
from edge_lorahub.export.families import FAMILIES

pytestmark = pytest.mark.oracle

DECODERS = sorted(name for name, family in FAMILIES.items() if family.architecture == DECODER_ONLY)


@pytest.mark.parametrize("family", TINY)
def test_what_transformers_saves(family: str, tmp_path: Path) -> None:
    skip_if_too_old(family)
    torch.manual_seed(0)
    config = AutoConfig.for_model(**TINY[family])
    # torch's own attention leaves out Gemma 2's cap
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path / family, max_shard_size="100KB")
    exported = export_decoder(tmp_path / family, tmp_path / "graphs")
    assert exported.unused == []
    texts = random_texts(exported.config.vocab_size)
    for text, found in zip(texts, exported.logits(texts, no_lora(exported.slots)), strict=True):
        with torch.no_grad():
            expected = model(input_ids=torch.tensor(text.ids)[None]).logits[0, text.start - 1 : -1].numpy()
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "model_type", sorted(name for name, family in FAMILIES.items() if family.architecture == DECODER_ONLY)
)
def test_defaults_are_those_of_transformers(model_type: str) -> None:
    """A config.json that says as little as possible, and what transformers makes of it, written out."""
    least: dict[str, Any] = {
        "model_type": model_type, "vocab_size": 128, "hidden_size": 512, "intermediate_size": 64,
        "num_hidden_layers": 8, "num_attention_heads": 32,
    }  # fmt: skip
    config = AutoConfig.for_model(**least)
    full = json.loads(config.to_json_string(use_diff=False)) | {"architectures": None}
    family, path = FAMILIES[model_type], Path("config.json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # every field is known
        found, expected = vars(family.read(least, path)), vars(family.read(full, path))
    assert found | {"tied": None} == expected | {"tied": None}
    assert found["tied_by_default"] == config.tie_word_embeddings
