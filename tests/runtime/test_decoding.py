"""Decoding with a cache in place, against the same tokens scored at once, which uses no cache."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from scores import forced

from edge_lorahub import generate, load
from edge_lorahub.bench.latency import RandomLora
from edge_lorahub.bundle.graphs import Variant
from edge_lorahub.bundle.manifest import ModelConfig
from edge_lorahub.composition.exact import ExactStack
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.export import export
from edge_lorahub.runtime import encoder_decoder
from edge_lorahub.runtime.binding import LoraValues, Runner
from edge_lorahub.runtime.encoder_decoder.batches import Batch
from edge_lorahub.runtime.encoder_decoder.encoded_source import Source
from edge_lorahub.runtime.encoder_decoder.stepping import Stepping
from edge_lorahub.runtime.encoder_decoder.teacher_forcing import TeacherForcing
from edge_lorahub.runtime.kv_cache import KeyValueCache

# beyond the room that a cache has at first, and beyond what it then grows to
TOKENS = 150


@pytest.fixture(scope="module", params=["fp32", "int8"])
def bundle_of(request: pytest.FixtureRequest, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("decoding") / request.param
    export(checkpoint, out, precision=request.param)
    return out


def texts(batch: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask, one text shorter than the others."""
    ids = np.random.default_rng(length).integers(3, 120, (batch, length))
    mask = np.ones_like(ids)
    ids[0, length // 2 :] = mask[0, length // 2 :] = 0
    return ids, mask


def runner_of(bundle: Path, lora_type: str) -> Runner:
    model = load(bundle, threads=1)
    return Runner(model, "generate", plain_inputs(model.manifest.slots, lora_type))


def stepping(runner: Runner, ids: np.ndarray, mask: np.ndarray, cache: KeyValueCache | None = None) -> Stepping:
    return Stepping(runner, Source(runner, ids, mask), cache or KeyValueCache(runner.model.manifest.model))


def decoded(
    runner: Runner, ids: np.ndarray, mask: np.ndarray, new: np.ndarray, cache: KeyValueCache | None
) -> np.ndarray:
    """The logits (B, S, V) that follow the start and each of the tokens new (B, S) but the last."""
    decoding = stepping(runner, ids, mask, cache)
    first = decoding.start().copy()
    return np.stack([first, *(decoding.step(step).copy() for step in new[:, :-1].T)], axis=1)


@pytest.mark.parametrize("lora_type", ["none", "float32"])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_by_one_is_at_once(bundle: Path, lora_type: str, batch: int) -> None:
    runner = runner_of(bundle, lora_type)
    ids, mask = texts(batch, 40)
    new = np.random.default_rng(1).integers(3, 120, (batch, TOKENS))
    at_once = forced(Runner(runner.model, "score", runner.lora.inputs), ids, mask, new)
    found = decoded(runner, ids, mask, new, None)
    np.testing.assert_allclose(found, at_once, atol=1e-5 * np.abs(found).max())


def test_a_cache_serves_batches_of_all_sizes(bundle_of: Path) -> None:
    """Bit for bit: larger and smaller ones, short and long answers, and a cache that grows within its memory."""
    runner = runner_of(bundle_of, "float32")
    cache = KeyValueCache(runner.model.manifest.model)
    for batch, tokens in [(2, 5), (6, 70), (1, TOKENS), (4, 65), (7, 64)]:
        ids, mask = texts(batch, 9)
        new = np.random.default_rng(tokens).integers(3, 120, (batch, tokens))
        expected = decoded(runner, ids, mask, new, None)
        np.testing.assert_array_equal(decoded(runner, ids, mask, new, cache), expected)


def test_joined_layers_are_those_layers(bundle_of: Path) -> None:
    """Without LoRA an int8 decoder has q, k and v in one product; with it they are apart."""
    runner = runner_of(bundle_of, "none")
    decoder = runner.model.manifest.graph("generate", Variant("none")).files[1]
    graph = onnx.load(bundle_of / decoder, load_external_data=False).graph
    joined = [node.input[0] for node in graph.node if node.op_type == "Concat"]
    int8 = runner.model.manifest.precision == "int8"
    for layer in ("0.layer.0.SelfAttention.q", "1.layer.2.DenseReluDense.wi_0"):
        assert (f"decoder.block.{layer}.weight" in joined) == int8
    ids, mask = texts(3, 12)
    new = np.random.default_rng(2).integers(3, 120, (3, 9))
    plain, apart = (decoded(runner_of(bundle_of, lora), ids, mask, new, None) for lora in ("none", "float32"))
    np.testing.assert_allclose(plain, apart, atol=1e-6 * np.abs(apart).max())


def test_memory_is_kept_from_batch_to_batch(bundle: Path) -> None:
    cache = KeyValueCache(load(bundle, threads=1).manifest.model)
    large = cache.arrays(5, 64)
    for small in (cache.arrays(5, 64), cache.arrays(2, 128), cache.arrays(1, 1)):
        assert all(np.shares_memory(small[names], large[names]) for names in large)
    assert {array.shape for array in cache.arrays(6, 64).values()} == {(6, 3, 64, 8)}


def test_generation_has_one_cache(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, given = [], []

    class Watched(KeyValueCache):
        def __init__(self, config: ModelConfig) -> None:
            super().__init__(config)
            made.append(self)

        def arrays(self, batch: int, room: int) -> dict[tuple[str, str], np.ndarray]:
            given.append((self, batch))
            return super().arrays(batch, room)

    monkeypatch.setattr(encoder_decoder, "KeyValueCache", Watched)
    generate(load(bundle, threads=1), ["w3 w4", "w5", "w6 w7 w8"], max_new_tokens=2, batch_size=2)
    assert len(made) == 1
    assert {cache for cache, _ in given} == set(made)
    assert {batch for _, batch in given} == {1, 2}


def test_an_interrupt_while_lora_is_bound_is_made_good(bundle: Path) -> None:
    """The candidate that was there before is bound anew, not taken for bound."""
    model = load(bundle, threads=1)
    slots = model.manifest.slots
    rng = np.random.default_rng(0)
    stack = ExactStack.of([RandomLora(slots, seed, 2) for seed in range(3)], slots)
    first, second = (LoraValues(stack.inputs(rng.normal(size=stack.width).astype(np.float32))) for _ in range(2))
    runner = Runner(model, "score", first.inputs)
    ids, mask = texts(2, 9)
    scoring = TeacherForcing(runner, Batch([0, 1], ids, mask, list(ids[:, :4])))
    runner.lora = first
    scoring.run()
    expected = scoring.logits.copy()

    class Interrupted(list[str]):
        def __iter__(self) -> Iterator[str]:
            yield from self[:2]
            raise KeyboardInterrupt

    encoder = runner.sessions[0]
    names = runner.wanted[encoder]
    runner.wanted[encoder] = Interrupted(names)
    runner.lora = second
    with pytest.raises(KeyboardInterrupt):
        scoring.run()
    runner.wanted[encoder] = names
    runner.lora = first
    scoring.run()
    np.testing.assert_array_equal(scoring.logits, expected)


def test_a_cache_that_grows_lets_the_old_one_go(bundle: Path) -> None:
    ids, mask = texts(1, 9)
    runner = runner_of(bundle, "none")
    cache = KeyValueCache(runner.model.manifest.model)
    decoding = stepping(runner, ids, mask, cache)
    decoding.start()
    first = [weakref.ref(memory) for memory in cache._memory]
    for _ in range(64):
        decoding.step(ids[:, 0])
    assert all(memory() is None for memory in first)
