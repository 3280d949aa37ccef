"""Decoder-only models in int8, every row of what a layer reads with its own scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from decoders import (
    TINY,
    Exported,
    export_decoder,
    no_lora,
    random_lora,
    random_texts,
    skip_if_too_old,
    write_checkpoint,
)
from safetensors.numpy import load_file, save_file

from edge_lorahub.bundle.graphs import lora_a_name, lora_b_name, lora_scale_name
from edge_lorahub.runtime.decoder_only.packing import Text
from edge_lorahub.tensors.quantization import quantize_rows


def in_int8(lora: Mapping[str, np.ndarray], exported: Exported) -> dict[str, np.ndarray]:
    """LoRA inputs in int8, as a stack of exact composition holds them."""
    found = {}
    for slot in exported.slots:
        a, a_scales = quantize_rows(np.ascontiguousarray(lora[lora_a_name(slot.name)].T))
        b, b_scales = quantize_rows(lora[lora_b_name(slot.name)])
        found[lora_a_name(slot.name)], found[lora_b_name(slot.name)] = np.ascontiguousarray(a.T), b
        found[lora_scale_name(slot.name)] = lora[lora_scale_name(slot.name)] * a_scales * b_scales
    return found


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [x.argsort().argsort() for x in (a, b)]
    return float(np.corrcoef(ranks)[0, 1])


@pytest.fixture(scope="module", params=TINY)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    skip_if_too_old(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint = write_checkpoint(folder / "checkpoint", TINY[request.param])
    return {
        "fp32": export_decoder(checkpoint, folder / "fp32"),
        "int8": export_decoder(checkpoint, folder / "int8", precision="int8"),
        "lora": export_decoder(checkpoint, folder / "lora", precision="int8", lora="int8"),
    }


def test_int8_is_near_fp32(family: dict[str, Exported]) -> None:
    texts = random_texts(96, (30, 12, 50, 3))
    lora = random_lora(family["fp32"].slots)
    expected = np.concatenate(family["fp32"].logits(texts, lora))
    for form, inputs in (("int8", lora), ("lora", in_int8(lora, family["lora"]))):
        found = np.concatenate(family[form].logits(texts, inputs))
        assert np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_a_text_in_int8_is_the_same_alone_and_in_a_batch(family: dict[str, Exported]) -> None:
    """Bit for bit where all products are of whole numbers; with LoRA in float32 to its rounding."""
    texts = random_texts(96, (17, 3, 40, 29, 9, 90, 1))
    lora = random_lora(family["fp32"].slots)
    for form, inputs, tolerance in (("lora", in_int8(lora, family["lora"]), 0.0), ("int8", lora, 1e-5)):
        together = family[form].losses(texts, inputs).sums
        alone = [family[form].losses([text], inputs).sums[0] for text in texts]
        np.testing.assert_allclose(alone, together, rtol=tolerance)


def test_int8_generates_what_it_scores_best(family: dict[str, Exported]) -> None:
    exported = family["int8"]
    prompts = [text.ids for text in random_texts(96)]
    lora = no_lora(exported.slots)
    answers = exported.greedy(lora, prompts, 20)
    texts = [Text(np.append(p, a), len(p)) for p, a in zip(prompts, answers, strict=True)]
    for logits, answer in zip(exported.logits(texts, lora), answers, strict=True):
        # the two attentions round differently, which a step of the next quantization can make visible
        chosen = logits[np.arange(len(answer)), answer]
        assert (logits.max(axis=1) - chosen < 0.02 * np.abs(logits).max()).all()


def test_massive_activations_in_int8_do_not_destroy_the_order(tmp_path: Path) -> None:
    """A first token whose values are a hundred times those of others, as in most trained decoders.

    With one scale for all tokens the rank correlation is 0.39, and the mean difference 0.60 nats.
    """
    checkpoint = write_checkpoint(tmp_path / "checkpoint", TINY["llama"])
    tensors = load_file(checkpoint / "model.safetensors")
    # Number 5 of the first layer's tokens is large in token 1, which begins every text, and about 0 in all others; its
    # feed-forward makes it larger still.
    embedding = tensors["model.embed_tokens.weight"]
    embedding[:, 5] = 0
    embedding[1] = 0
    embedding[1, 5] = 30
    tensors["model.layers.0.self_attn.o_proj.weight"][5] = 0
    for kind in ("gate_proj", "up_proj"):
        tensors[f"model.layers.0.mlp.{kind}.weight"][:, 5] *= 10
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    texts = [Text(np.append(1, text.ids), text.start + 1) for text in random_texts(96, (20, 35, 50))]
    losses = []
    for precision in ("fp32", "int8"):
        exported = export_decoder(checkpoint, tmp_path / precision, precision=precision)
        loras = [random_lora(exported.slots, seed=seed, size=0.1) for seed in range(24)]
        losses.append(np.array([exported.losses(texts, lora).means().mean() for lora in loras]))
    assert spearman(*losses) > 0.95
    assert np.abs(losses[0] - losses[1]).mean() < 0.1


def test_int8_is_a_quarter(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", TINY["llama"] | {"hidden_size": 256, "intermediate_size": 512})
    sizes = [
        (export_decoder(checkpoint, tmp_path / precision, precision=precision).out / "weights.bin").stat().st_size
        for precision in ("fp32", "int8")
    ]
    # each weight starts at a page of its own
    assert sizes[1] < 0.45 * sizes[0]
