"""int8 by row: what becomes of a text depends on no text beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from safetensors.numpy import load_file, save_file
from scores import forced

from edge_lorahub import Example, Modules, Settings, adapt, generate, load, load_adapter
from edge_lorahub.composition.stack import make_stack, plain_inputs
from edge_lorahub.export import export
from edge_lorahub.export.blocks.onnx_graph import Graph
from edge_lorahub.export.blocks.row_quantization import ZERO, RowQuantizer
from edge_lorahub.machine.onnx_runtime import ort
from edge_lorahub.runtime.answers import greedy
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.encoder_decoder.stepping import Stepping
from edge_lorahub.runtime.generation import runner_for
from edge_lorahub.testing import random_models

# As wide as flan-t5-base: onnxruntime sums in several blocks, of which it makes more or fewer by the length of the
# texts, and adds these up in one order or another.
WIDE = random_models.SIZES["tiny"] | {"d_model": 768, "num_heads": 3, "d_kv": 64, "d_ff": 320, "vocab_size": 384}
# Their tokens are bytes, as ByT5's are. One of them has an embedding of zeros, and one an outlier.
NOTHING, HUGE = "_", "~"
TEXTS = [
    f"Translate: the cat sat on the mat. {HUGE}{HUGE}",
    "",
    f"{NOTHING}{NOTHING}",
    "Wann fährt der nächste Zug nach Köln ab, und von welchem Gleis?",
    "आज मौसम कैसा है?",
    "x",
    "今日は何曜日ですか。" * 4,
    f"Сколько будет {NOTHING} два плюс два? {HUGE}",
    "🦆🦆🦆 ¿qué?",
    "كم الساعة الآن؟ " * 9,
]
# All of more tokens than the end alone, whose answers are below.
ANSWERS = ["le chat", "a", "bc", "Um 9 Uhr", "अच्छा", "ja", "月曜日", "четыре", f"{HUGE}ok", NOTHING]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundles in both precisions, and three modules."""
    folder = tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(random_models.SIZES, "wide", WIDE)
        checkpoint = random_models.write_checkpoint(folder / "checkpoint", "wide")
        for i in range(3):
            random_models.write_module(folder / f"module-{i}", "wide", seed=i, rank=4, std=0.02)
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    (file,) = checkpoint.glob("*.safetensors")
    tensors = load_file(file)
    embedding = tensors["shared.weight"].copy()
    embedding[ord(NOTHING) + 3] = 0
    embedding[ord(HUGE) + 3, 3] = 3000
    save_file(tensors | {"shared.weight": embedding}, file, metadata={"format": "pt"})
    for precision in ("int8", "fp32"):
        export(checkpoint, folder / precision, precision=precision)
    return folder


def runner_of(bundle: Path, lora_type: str, role: str = "score", *, short: bool = False, threads: int = 1) -> Runner:
    """Of a bundle of `wide`: the plain model, or with its modules composed."""
    model = load(bundle, threads=threads)
    if lora_type == "none":
        return Runner(model, role, plain_inputs(model.manifest.slots, "none"), short=short)
    modules = list(Modules.load(sorted(bundle.parent.glob("module-*"))))
    inputs = make_stack(modules, model.manifest, "exact", lora_type).inputs()
    inputs.compose(np.array([0.7, -0.4, 1.1]))
    return Runner(model, role, inputs, short=short)


def label_logits(runner: Runner, texts: list[str], answers: list[str]) -> list[np.ndarray]:
    """Of each text's answer, (S, V), all in one batch."""
    tokens = runner.model.tokens
    ids, mask = tokens.pad(tokens.encode(texts, 999))
    labels = tokens.encode(answers, 99)
    found = forced(runner, ids, mask, tokens.pad(labels)[0])
    return [logits[: len(row)].copy() for logits, row in zip(found, labels, strict=True)]


def in_batches(runner: Runner, size: int) -> list[np.ndarray]:
    """`label_logits` of all texts, as many at once."""
    starts = range(0, len(TEXTS), size)
    return [x for i in starts for x in label_logits(runner, TEXTS[i : i + size], ANSWERS[i : i + size])]


def quantized(x: np.ndarray, tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    g = Graph("rows")
    rows = RowQuantizer()(g, g.input("x", ("m", "n", "k")), "rows")
    g.output(g.op("Cast", [rows.values], to=TensorProto.FLOAT), "values", ("m", "n", "k"))
    g.output(rows.scale, "scale", ("m", "n", 1))
    g.save(tmp_path / "rows.onnx")
    session = ort.InferenceSession(str(tmp_path / "rows.onnx"), providers=["CPUExecutionProvider"])
    values, scale = session.run(None, {"x": x})
    return values, scale


def test_each_row_has_the_scale_of_its_largest_magnitude(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((3, 5, 33), dtype=np.float32)
    x *= np.geomspace(1e-4, 1e4, 15, dtype=np.float32).reshape(3, 5, 1)
    x[1, 2] = 0
    x[2, 4, 7] = -1e6
    x[2, 3] = np.abs(x[2, 3])
    values, scale = quantized(x, tmp_path)
    largest = np.abs(x).max(axis=2, keepdims=True)
    np.testing.assert_allclose(scale, np.maximum(largest, 1e-30) / 127, rtol=1e-6)
    assert (values[1, 2] == ZERO).all(), "a row of zeros"
    whole = values.astype(np.float64) - ZERO
    assert (np.abs(whole).max(axis=2)[largest[..., 0] > 0] == 127).all()
    assert (np.abs(whole * scale - x) <= scale * 0.5001).all()
    for i, j in np.ndindex(3, 5):
        alone = quantized(x[i : i + 1, j : j + 1], tmp_path)
        assert (alone[0] == values[i, j]).all()
        assert alone[1] == scale[i, j]


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_what_is_not_finite_stays_so(bad: float, tmp_path: Path) -> None:
    x = np.ones((1, 3, 20), np.float32)
    x[0, 1, 4] = bad
    x[0, 2] = np.nan
    scale = quantized(x, tmp_path)[1]
    assert np.isfinite(scale[0, :, 0]).tolist() == [True, False, False]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("short", [False, True], ids=["", "short"])
@pytest.mark.parametrize("lora_type", ["none", "float32", "int8"])
def test_logits_are_the_same_alone_and_in_a_batch(wide: Path, lora_type: str, short: bool, threads: int) -> None:
    """Bit for bit, and so are the losses: beside longer texts and shorter ones, and beside an outlier."""
    if short and lora_type == "none":
        pytest.skip("there are no such graphs")
    runner = runner_of(wide / "int8", lora_type, short=short, threads=threads)
    alone = in_batches(runner, 1)
    assert all(np.isfinite(x).all() for x in alone)
    for size in (2, 3, 4, 5, 6, 7, 8, len(TEXTS)):
        for text, expected, found in zip(TEXTS, alone, in_batches(runner, size), strict=True):
            assert (expected == found).all(), f"{text!r} in batches of {size}"
    backwards = label_logits(runner, TEXTS[::-1], ANSWERS[::-1])[::-1]
    assert all((expected == found).all() for expected, found in zip(alone, backwards, strict=True))


@pytest.mark.parametrize("short", [False, True], ids=["", "short"])
def test_answers_of_the_end_token_alone(wide: Path, short: bool) -> None:
    runner = runner_of(wide / "int8", "int8", short=short)
    answers = ["" if i % 2 else answer for i, answer in enumerate(ANSWERS)]
    together = label_logits(runner, TEXTS, answers)
    for text, answer, expected in zip(TEXTS, answers, together, strict=True):
        assert (label_logits(runner, [text], [answer])[0] == expected).all(), text


def test_rows_of_zeros_and_outliers_are_as_in_float(wide: Path) -> None:
    exact, found = (
        np.concatenate(in_batches(runner_of(wide / precision, "none"), 4)) for precision in ("fp32", "int8")
    )
    assert np.abs(found - exact).max() < 0.1 * np.abs(exact).max()


def test_a_search_does_not_depend_on_the_batches(wide: Path) -> None:
    model = load(wide / "int8", threads=2)
    modules = Modules.load(sorted(wide.glob("module-*")))
    examples = [Example(text, answer) for text, answer in zip(TEXTS, ANSWERS, strict=True) if text][:5]
    traces = [
        [(c.loss, c.weights.tolist()) for c in adapt(model, modules, examples, settings, workers=2).trace]
        for settings in (Settings(budget=14, racing=False, batch_tokens=n) for n in (32, 4096))
    ]
    assert traces[0] == traces[1]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_logits_of_every_new_token_are_the_same_alone_and_in_a_batch(
    wide: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the cache, and so are the answers."""
    runner = runner_of(wide / "int8", "none", "generate", threads=threads)
    seen: list[np.ndarray] = []
    step = Stepping.step

    def watched(self: Stepping, ids: np.ndarray, *rest: object) -> np.ndarray:
        seen.append(step(self, ids, *rest).copy())
        return seen[-1]

    monkeypatch.setattr(Stepping, "step", watched)
    rows = runner.model.tokens.encode(TEXTS, 999)

    def answers(rows: list[np.ndarray]) -> tuple[np.ndarray, list[list[int]]]:
        seen.clear()
        found = greedy(runner, rows, 12)
        return np.stack(seen, axis=1), [ids.tolist() for ids in found]

    alone = [answers([row]) for row in rows]
    assert len({tuple(ids) for _, (ids,) in alone}) > len(rows) // 2, "they answer differently"
    for size in (2, 3, 8, len(rows)):
        for start in range(0, len(rows), size):
            together = zip(*answers(rows[start : start + size]), strict=True)
            for (expected, (ids,)), (logits, found) in zip(alone[start : start + size], together, strict=True):
                # until it ends: in a batch it then goes on with padding
                assert (expected[0] == logits[: expected.shape[1]]).all()
                assert ids == found


def test_answers_with_an_adapter_are_the_same_alone_and_in_a_batch(wide: Path) -> None:
    """Its float32 sums have another order for one text; that moves last digits, of which hardly any matters."""
    model = load(wide / "int8", threads=1)
    adapter = load_adapter(wide / "module-1")
    together = generate(model, TEXTS, adapter=adapter, max_new_tokens=8)
    assert [generate(model, [text], adapter=adapter, max_new_tokens=8)[0] for text in TEXTS] == together
    runner = runner_for(model, adapter)
    assert all((a == b).all() for a, b in zip(in_batches(runner, 1), in_batches(runner, 5), strict=True))
