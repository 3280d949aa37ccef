"""Both graphs of every decoder-only family against each other, and what the runtime does with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundles import sign
from decoders import (
    KINDS,
    TINY,
    Exported,
    export_decoder,
    no_lora,
    random_lora,
    random_texts,
    skip_if_too_old,
    write_checkpoint,
)

from edge_lorahub import load
from edge_lorahub.errors import BundleError, SettingsError
from edge_lorahub.runtime.decoder_only.packing import Text
from edge_lorahub.runtime.kv_cache import KeyValueCache


@pytest.fixture(scope="module", params=TINY)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    skip_if_too_old(request.param)
    folder = tmp_path_factory.mktemp("family")
    return export_decoder(write_checkpoint(folder / "checkpoint", TINY[request.param]), folder / "graphs")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("llama")
    return export_decoder(write_checkpoint(folder / "checkpoint", TINY["llama"]), folder / "graphs")


def answered(exported: Exported, lora: dict[str, np.ndarray], count: int) -> tuple[list[Text], list[np.ndarray]]:
    """Texts of several lengths with greedy answers as their completions, and the answers."""
    prompts = [text.ids for text in random_texts(exported.config.vocab_size)]
    answers = exported.greedy(lora, prompts, count)
    return [Text(np.append(p, a), len(p)) for p, a in zip(prompts, answers, strict=True)], answers


@pytest.mark.parametrize("rank", [0, 3])
def test_what_is_generated_is_what_scores_best(exported: Exported, rank: int) -> None:
    """Token by token in a cache that grows, and all at once packed: the same model."""
    lora = random_lora(exported.slots, rank)
    texts, answers = answered(exported, lora, 90)
    for logits, answer in zip(exported.logits(texts, lora), answers, strict=True):
        assert logits.argmax(axis=1).tolist() == answer.tolist()
    assert len(np.unique(answers)) > 5


def test_a_text_scores_the_same_packed_and_alone(exported: Exported) -> None:
    lora = random_lora(exported.slots)
    texts = random_texts(exported.config.vocab_size)
    together = exported.losses(texts, lora).sums
    alone = [exported.losses([text], lora).sums[0] for text in texts]
    np.testing.assert_allclose(together, alone, rtol=2e-6)


def test_every_slot_does_something(exported: Exported) -> None:
    texts = random_texts(exported.config.vocab_size, (20, 9))
    before = np.concatenate(exported.logits(texts, no_lora(exported.slots)))
    assert len(exported.slots) == len(KINDS) * exported.config.layers
    for slot in exported.slots:
        lora = {**no_lora(exported.slots), **random_lora([slot], size=0.5)}
        assert np.abs(np.concatenate(exported.logits(texts, lora)) - before).max() > 1e-4, slot.name


def test_slots_can_be_some_kinds_or_none(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "c", TINY["qwen2"])
    texts = random_texts(96)
    whole = export_decoder(checkpoint, tmp_path / "whole")
    expected = np.concatenate(whole.logits(texts, no_lora(whole.slots)))
    some = export_decoder(checkpoint, tmp_path / "some", kinds=("v_proj", "q_proj"))
    assert {slot.kind for slot in some.slots} == {"q_proj", "v_proj"}
    plain = export_decoder(checkpoint, tmp_path / "none", lora="none")
    assert plain.slots == ()
    for exported in (some, plain):
        # other operators are fused where there is no LoRA
        found = np.concatenate(exported.logits(texts, no_lora(exported.slots)))
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_offsets_of_slots_find_the_weights(tmp_path: Path) -> None:
    """(d_in, d_out) in weights.bin, as `bake` changes them."""
    checkpoint = write_checkpoint(tmp_path / "c", TINY["llama"])
    exported = export_decoder(checkpoint, tmp_path / "graphs")
    slot = next(slot for slot in exported.slots if slot.name.endswith("1.mlp.down_proj"))
    lora = {**no_lora(exported.slots), **random_lora([slot])}
    texts = random_texts(96)
    expected = np.concatenate(exported.logits(texts, lora))
    a, scale, b = (lora[f"{slot.name}.lora_{part}"] for part in ("A", "scale", "B"))
    weights = np.memmap(
        exported.out / "weights.bin", np.float32, "r+", offset=slot.weight_offset, shape=(slot.d_in, slot.d_out)
    )
    weights += (a * scale) @ b
    weights.flush()
    sign(exported.out)
    exported = replace(exported, model=load(exported.out, threads=1))
    found = np.concatenate(exported.logits(texts, no_lora(exported.slots)))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_prompts_of_one_token(llama: Exported) -> None:
    lora = random_lora(llama.slots)
    prompts = [np.array([5]), np.array([6]), np.array([5])]
    together = llama.greedy(lora, prompts, 8)
    assert together[0].tolist() == together[2].tolist()
    mixed = llama.greedy(lora, [prompts[1], np.arange(3, 30), prompts[0]], 8)
    assert [mixed[2].tolist(), mixed[0].tolist()] == [row.tolist() for row in together[:2]]
    alone = llama.greedy(lora, [prompts[0]], 8)
    assert alone[0].tolist() == together[0].tolist()


def test_a_cache_serves_one_batch_after_the_other(llama: Exported) -> None:
    lora = no_lora(llama.slots)
    cache = KeyValueCache(llama.model.manifest.model)
    batches = [[np.arange(3, 90), np.arange(3, 20)], [np.arange(40, 44)], [np.arange(5, 60)] * 3]
    for prompts in batches:
        expected = llama.greedy(lora, prompts, 70)
        assert np.array_equal(llama.greedy(lora, prompts, 70, cache=cache), expected)


def test_end_tokens_end_an_answer(llama: Exported) -> None:
    """Each text's own, any of several; the others of the batch go on, and are not disturbed."""
    lora = no_lora(llama.slots)
    prompts = [text.ids for text in random_texts(96)]
    whole = llama.greedy(lora, prompts, 30)
    ends = [int(whole[0][4]), int(whole[2][11])]
    for answer, row in zip(llama.greedy(lora, prompts, 30, ends), whole, strict=True):
        stops = np.flatnonzero(np.isin(row, ends))
        assert answer.tolist() == row[: stops[0] if len(stops) else None].tolist()


def test_texts_up_to_the_last_position(llama: Exported) -> None:
    """One more is refused, where it is clear which text it is."""
    lora, longest = no_lora(llama.slots), llama.config.longest
    assert longest == 512
    ids = np.random.default_rng(0).integers(3, 96, longest)
    assert np.isfinite(llama.losses([Text(ids, longest - 3)], lora).sums).all()
    prompts = [ids[: longest - 3], ids[:4]]
    decoding = llama.decoding(lora, prompts)
    tokens = [decoding.start().argmax(axis=1)]
    for _ in range(3):
        tokens.append(decoding.step(tokens[-1]).argmax(axis=1))
    text = Text(np.append(prompts[0], [row[0] for row in tokens[:3]]), longest - 3)
    assert llama.logits([text], lora)[0].argmax(axis=1).tolist() == [row[0] for row in tokens[:3]]
    with pytest.raises(SettingsError, match=r"a text has 513 tokens with its answer, .* end at 512; shorten it"):
        decoding.step(tokens[-1])
    with pytest.raises(SettingsError, match="text 1 has 513 tokens"):
        llama.losses([Text(np.zeros(513, np.int64), 5)], lora)
    with pytest.raises(SettingsError, match="a prompt has 513 tokens"):
        llama.decoding(lora, [ids, np.zeros(513, np.int64)]).start()


def test_a_text_that_has_ended_does_not_end_the_others(llama: Exported) -> None:
    """The longest text ends at the last positions; a shorter one goes on."""
    lora, longest = no_lora(llama.slots), llama.config.longest
    ids = np.random.default_rng(0).integers(3, 96, longest)
    long, short = ids[: longest - 2], ids[:4]
    first = int(llama.decoding(lora, [long]).start().argmax())
    expected = llama.greedy(lora, [short], 10, [first])
    found = llama.greedy(lora, [long, short], 10, [first])
    assert found[0].tolist() == []
    assert found[1].tolist() == expected[0].tolist()


def test_what_cannot_be_generated(llama: Exported) -> None:
    lora = no_lora(llama.slots)
    with pytest.raises(SettingsError, match="a prompt has no tokens"):
        llama.decoding(lora, [np.arange(3), np.arange(0)]).start()


def test_lora_that_a_graph_has_no_place_for(tmp_path: Path) -> None:
    """It is not left out without a word."""
    checkpoint = write_checkpoint(tmp_path / "c", TINY["llama"])
    whole = export_decoder(checkpoint, tmp_path / "whole")
    some = export_decoder(checkpoint, tmp_path / "some", kinds=("q_proj",))
    lora, text = random_lora(whole.slots), Text(np.arange(3, 9), 4)
    with pytest.raises(SettingsError, match=r"the graphs have no input model.layers.0.mlp.down_proj.lora_A"):
        some.losses([text], lora)
    with pytest.raises(SettingsError, match="the graphs have no input"):
        some.decoding(lora, [text.ids]).start()


def test_inputs_that_a_graph_cannot_take(llama: Exported) -> None:
    lora = no_lora(llama.slots)
    with pytest.raises(BundleError, match="a graph fails on its inputs"):
        llama.losses([Text(np.array([1, 2, 96]), 1), Text(np.array([1, 96, 2]), 1)], lora)
    lora[f"{llama.slots[0].name}.lora_A"] = np.zeros((3, 0), np.float32)
    with pytest.raises(BundleError, match="a graph fails on its inputs"):
        llama.losses([Text(np.array([1, 2, 3]), 1)], lora)
