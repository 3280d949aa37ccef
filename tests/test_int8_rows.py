"""int8 by row: what becomes of a text depends on no text beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from safetensors.numpy import load_file, save_file
from scores import score

from edge_lorahub import Example, Model, Modules, Settings, adapt, generate, load
from edge_lorahub.bench import random_models
from edge_lorahub.decoding import Decoding
from edge_lorahub.export import export
from edge_lorahub.export.graph import Graph
from edge_lorahub.export.row_quantization import ZERO, RowQuantizer
from edge_lorahub.generation import greedy
from edge_lorahub.onnx_runtime import ort
from edge_lorahub.runs import Runner
from edge_lorahub.stack import make_stack, plain_inputs

# Wide enough for onnxruntime to sum in several blocks, of which it makes more or fewer by the length of the texts.
WIDE = random_models.SIZES["tiny"] | {"d_model": 272, "num_heads": 4, "vocab_size": 131}
NOTHING, HUGE = "w5", "w6"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An int8 bundle whose word NOTHING is a row of zeros, and HUGE one with an outlier; and three modules."""
    folder = tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(random_models.SIZES, "wide", WIDE)
        checkpoint = random_models.write_checkpoint(folder / "checkpoint", "wide")
        for i in range(3):
            random_models.write_module(folder / f"module-{i}", "wide", seed=i, rank=4, std=0.1)
    (file,) = checkpoint.glob("*.safetensors")
    tensors = load_file(file)
    embedding = tensors["shared.weight"].copy()
    embedding[5] = 0
    embedding[6, 3] = 3000
    save_file(tensors | {"shared.weight": embedding}, file, metadata={"format": "pt"})
    for precision in ("int8", "fp32"):
        export(checkpoint, folder / precision, precision=precision)
    yield folder


def texts(lengths: list[int], seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(f"w{i}" for i in rng.integers(7, 131, length)) for length in lengths]


def examples_of(lengths: list[int]) -> list[Example]:
    """Of all lengths, with the outlier and the row of zeros among them."""
    answers = texts([2, 1, 5, 3, 2, 4, 1, 3][: len(lengths)], seed=1)
    found = [Example(text, answer) for text, answer in zip(texts(lengths), answers, strict=True)]
    found[0] = Example(f"{found[0].input} {HUGE} {HUGE}", found[0].output)
    found[1] = Example(f"{NOTHING} {found[1].input}", f"{NOTHING} {found[1].output}")
    return found


def runner_of(model: Model, folder: Path) -> Runner:
    if model.lora == "none":
        return Runner(model, plain_inputs(model.manifest.slots, "none"))
    modules = list(Modules.load(sorted(folder.glob("module-*"))))
    inputs = make_stack(modules, model.manifest, "exact", model.lora).inputs()
    inputs.compose(np.array([0.7, -0.4, 1.1]))
    return Runner(model, inputs)


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
@pytest.mark.parametrize("absorbed", [False, True], ids=["", "absorbed"])
@pytest.mark.parametrize("lora", ["none", "float32", "int8"])
def test_a_loss_is_the_same_alone_and_in_a_batch(wide: Path, lora: str, absorbed: bool, threads: int) -> None:
    """Bit for bit, with texts of other lengths beside it, and with an outlier among them."""
    if absorbed and lora == "none":
        pytest.skip("there are no such graphs")
    examples = examples_of([12, 3, 40, 90, 25, 64, 7, 140])
    model = load(wide / "int8", threads=threads, lora=lora, absorbed=absorbed)
    runner = runner_of(model, wide)
    together = score(runner, examples, 999, 99).sums
    # one batch at all, and in one of its own
    assert (score(runner, examples[::-1], 999, 99).sums[::-1] == together).all()
    alone = np.concatenate([score(runner, [example], 999, 99).sums for example in examples])
    assert alone.tolist() == together.tolist()
    assert np.isfinite(together).all()


def test_rows_of_zeros_and_outliers_are_as_in_float(wide: Path) -> None:
    examples = examples_of([12, 3, 40])
    found = [score(runner_of(load(wide / p, threads=1), wide), examples, 999, 99).means() for p in ("fp32", "int8")]
    np.testing.assert_allclose(found[1], found[0], rtol=0.03)


def test_a_search_does_not_depend_on_the_batches(wide: Path) -> None:
    model = load(wide / "int8", threads=2, workers=2, lora="int8")
    modules, examples = Modules.load(sorted(wide.glob("module-*"))), examples_of([12, 3, 40, 90])
    traces = [
        [(c.loss, c.weights.tolist()) for c in adapt(model, modules, examples, settings).trace]
        for settings in (Settings(budget=14, racing=False, batch_tokens=n) for n in (32, 4096))
    ]
    assert traces[0] == traces[1]


@pytest.mark.parametrize("threads", [1, 2])
def test_an_answer_is_the_same_alone_and_in_a_batch(wide: Path, threads: int) -> None:
    model = load(wide / "int8", threads=threads, lora="none")
    inputs = [f"{text} {HUGE}" if i == 3 else text for i, text in enumerate(texts([9, 30, 4, 17, 70, 12, 2, 51]))]
    together = generate(model, inputs, max_new_tokens=12)
    assert [generate(model, [text], max_new_tokens=12)[0] for text in inputs] == together
    assert len(set(together)) > 4


@pytest.mark.parametrize("threads", [1, 2])
def test_the_logits_of_every_token_are_the_same_alone_and_in_a_batch(
    wide: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(wide / "int8", threads=threads, lora="none")
    runner = runner_of(model, wide)
    seen: list[np.ndarray] = []
    step = Decoding.step

    def watched(self: Decoding, ids: np.ndarray) -> np.ndarray:
        seen.append(step(self, ids).copy())
        return seen[-1]

    monkeypatch.setattr(Decoding, "step", watched)
    rows = model.tokens.encode(texts([9, 30, 4, 17, 0, 71]), 99)

    def logits(rows: list[np.ndarray]) -> np.ndarray:
        seen.clear()
        greedy(runner, *model.tokens.pad(rows), 8)
        return np.stack(seen, axis=1)

    together = logits(rows)
    assert together.shape[1] == 8
    for row, expected in zip(rows, together, strict=True):
        # until it ends: in a batch it then goes on with padding
        alone = logits([row])[0]
        assert (alone == expected[: len(alone)]).all()
