"""Graphs for short outputs: the loss of short answers without keys and values of the inputs."""

from __future__ import annotations

import json
import shutil
import warnings
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import sign
from click.testing import Result
from scores import forced

from edge_lorahub import Example, Model, Modules, Settings, adapt, generate, load
from edge_lorahub.bundle.graphs import Graph, Variant
from edge_lorahub.bundle.manifest import Slot, read_manifest
from edge_lorahub.composition.inputs import LoraInputs
from edge_lorahub.composition.stack import make_stack, plain_inputs
from edge_lorahub.errors import BundleError, EdgeLorahubWarning, ExamplesError, SettingsError
from edge_lorahub.export import export
from edge_lorahub.learning import run as learning_run
from edge_lorahub.learning.adaptation import learn
from edge_lorahub.runtime.architecture import Sessions
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.encoder_decoder.batches import short_is_faster
from edge_lorahub.testing.random_models import write_checkpoint, write_module

WEIGHTS = np.array([0.3, -0.5, 1.0])
# heads times their size is not the model's width, as in flan-t5-small; and a tied head
SIZES = ("tiny", "tiny-t5")


@pytest.fixture(scope="module")
def short(examples: list[Example]) -> list[Example]:
    """With outputs of one word, and the end token."""
    return [Example(e.input, e.output.split()[0]) for e in examples]


def files(bundle: Path, *, short: bool) -> tuple[str, ...]:
    return read_manifest(bundle).graph("score", Variant(short=short)).files


def logits(model: Model, inputs: LoraInputs, *, short: bool) -> np.ndarray:
    """Of a padded batch of random ids, (B, S, V)."""
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(3, 100, (3, 9)), rng.integers(3, 100, (3, 5))
    mask = np.ones_like(ids)
    mask[1, 4:] = 0
    return forced(Runner(model, "score", inputs, short=short), ids, mask, labels)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kinds", [("q", "v"), ("k",), ("q", "k", "v", "o", "wo")], ids="-".join)
def test_it_is_the_same_model(size: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    """In float32 to the rounding, in int8 as close to float32 as the graphs with keys and values."""
    checkpoint = write_checkpoint(tmp_path / size, size)
    folders = [write_module(tmp_path / f"m{i}", size, seed=i, rank=4, kinds=kinds, std=0.1) for i in range(3)]
    modules = list(Modules.load(folders))
    found = {}
    for precision, lora in (("fp32", "float32"), ("int8", "float32"), ("int8", "int8")):
        bundle = tmp_path / precision
        if not bundle.exists():
            export(checkpoint, bundle, slots=kinds, precision=precision)
        model = load(bundle, threads=1)
        for short in (False, True):
            inputs = make_stack(modules, model.manifest, "exact", lora).inputs()
            inputs.compose(WEIGHTS)
            found[precision, lora, short] = logits(model, inputs, short=short)
            plain = logits(model, plain_inputs(model.manifest.slots, lora), short=short)  # float32: of rank 0
            assert np.abs(plain - found[precision, lora, short]).max() > 0.05 * np.abs(plain).max()
    truth = found["fp32", "float32", False]
    np.testing.assert_allclose(found["fp32", "float32", True], truth, atol=1e-5 * np.abs(truth).max())

    def error(of: np.ndarray) -> float:
        return float(np.sqrt(np.square(of - truth).mean() / np.square(truth).mean()))

    for lora in ("float32", "int8"):
        assert error(found["int8", lora, True]) < 1.5 * error(found["int8", lora, False])


def test_a_slot_that_no_module_has(bundle: Path, tmp_path: Path) -> None:
    only_q = Modules.load([write_module(tmp_path / "q", "tiny", seed=1, rank=4, kinds=("q",), std=0.1)])
    found = []
    model = load(bundle, threads=1)
    for short in (False, True):
        for composition in ("paper", "exact"):
            inputs = make_stack(list(only_q), model.manifest, composition).inputs()
            inputs.compose(np.ones(1))
            found.append(logits(model, inputs, short=short))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5 * np.abs(found[0]).max())


def test_it_has_no_past_and_no_keys_and_values(bundle: Path) -> None:
    for name in files(bundle, short=True):
        graph = onnx.load(bundle / name, load_external_data=False).graph
        names = [value.name for values in (graph.input, graph.output) for value in values]
        assert not [n for n in names if n.startswith(("past.", "present.", "cross."))]


def test_the_weights_are_there_once(bundle: Path) -> None:
    where = [
        {
            (tensor.name, *((entry.key, entry.value) for entry in tensor.external_data))
            for name in pair
            for tensor in onnx.load(bundle / name, load_external_data=False).graph.initializer
            if tensor.external_data
        }
        for pair in (files(bundle, short=True), files(bundle, short=False))
    ]
    assert where[0] == where[1]


@pytest.mark.parametrize(
    ("labels", "fp32", "int8"), [([2], True, False), ([1], True, True), ([3], False, False), ([1, 2, 3], True, False)]
)
def test_short_is_measured_by_a_heads_size(
    bundle: Path, checkpoint: Path, tmp_path: Path, labels: list[int], fp32: bool, int8: bool
) -> None:
    """The tiny model's heads are 8 wide, so 2 label tokens in float32 and 1 in int8 are the most."""
    export(checkpoint, tmp_path / "int8", precision="int8")
    batches = [[(30, label)] for label in labels]
    for folder, short in ((bundle, fp32), (tmp_path / "int8", int8)):
        manifest = read_manifest(folder)
        assert manifest.model.head_size == 8
        assert short_is_faster(manifest, batches) is short


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bool, int]]:
    """Role, LoRA type, short, and how many at once: of all sessions that a model is asked for."""
    found = []
    sessions = Model.sessions

    def watched(self: Model, graph: Graph, at_once: int = 1, slots: Iterable[Slot] | None = None) -> Sessions:
        found.append((graph.role, graph.lora_type, graph.short, at_once))
        return sessions(self, graph, at_once, slots)

    monkeypatch.setattr(Model, "sessions", watched)
    return found


def test_adapting_to_short_answers(
    bundle: Path, modules: Modules, short: list[Example], asked: list[tuple[str, str, bool, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The same weights as with the graphs for everything."""
    settings = Settings(budget=20, composition="paper")
    model = load(bundle, threads=2)
    found = adapt(model, modules, short, settings)
    assert set(asked) == {("score", "float32", True, 2)}
    # what generates has graphs of its own: afterwards, and as an objective
    assert generate(model, ["w1"]) == generate(load(bundle, threads=1), ["w1"])
    asked.clear()
    with pytest.warns(EdgeLorahubWarning, match="none of 20 candidates"):
        texts = adapt(model, modules, short, settings, text_objective=lambda texts, _: 0.0)
    assert texts.record.short is False
    assert ("generate", "float32", False, 2) in asked
    assert not any(short for _, _, short, _ in asked)
    monkeypatch.setattr(learning_run, "scoring_variant", lambda *_, **__: Variant("float32", short=False))
    expected = adapt(load(bundle, threads=1), modules, short, settings, workers=1)
    assert found.adapter.record.short is True
    assert expected.adapter.record.short is False
    assert found.weights == pytest.approx(expected.weights, abs=1e-4)
    assert found.loss_after == pytest.approx(expected.loss_after, rel=1e-5)


def test_the_model_can_go_before_the_adapter_is_made(bundle: Path, modules: Modules, short: list[Example]) -> None:
    model = load(bundle, threads=1)
    found = learn(model, modules, short, Settings(budget=7))
    left = weakref.ref(model)
    del model
    assert left() is None
    adapter = found.compose(modules)
    expected = adapt(load(bundle, threads=1), modules, short, Settings(budget=7)).adapter
    assert expected.record.short is True
    assert adapter.pairs.keys() == expected.pairs.keys()
    for layer, lora in adapter.pairs.items():
        np.testing.assert_array_equal(lora.b, expected.pairs[layer].b)


@pytest.mark.filterwarnings("ignore::edge_lorahub.EdgeLorahubWarning")
def test_what_else_it_depends_on(
    bundle: Path, checkpoint: Path, modules: Modules, examples: list[Example], tmp_path: Path,
    asked: list[tuple[str, str, bool, int]],
) -> None:  # fmt: skip
    def chosen(folder: Path, threads: int, workers: int | None = None, **changes: object) -> tuple[str, bool, int]:
        asked.clear()
        found = adapt(folder, modules, examples, budget=7, threads=threads, workers=workers, **changes)
        ((role, lora_type, short, at_once),) = set(asked)
        assert role == "score"
        assert (found.record.lora_type, found.record.short) == (lora_type, short)
        return lora_type, short, at_once

    assert chosen(bundle, 1) == ("float32", False, 1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert chosen(bundle, 1, max_output_tokens=2) == ("float32", True, 1)
    cut = [str(w.message) for w in seen if issubclass(w.category, EdgeLorahubWarning) and "cut to 2" in str(w.message)]
    assert len(cut) == len(set(cut)) == len(examples), "each is told of once"
    assert chosen(bundle, 2, composition="paper") == ("float32", False, 2)
    assert chosen(bundle, 2, optimizer="reference") == ("float32", False, 1)
    assert chosen(bundle, 2, workers=1, composition="paper") == ("float32", False, 1)
    assert chosen(bundle, 2) == ("float32", False, 1), "the surrogate asks for one at a time"
    export(checkpoint, tmp_path / "int8", precision="int8")
    assert chosen(tmp_path / "int8", 1)[0] == "int8"
    assert chosen(tmp_path / "int8", 1, composition="paper")[0] == "float32"
    with pytest.raises(ExamplesError, match="no examples"):
        adapt(bundle, modules, [])


def test_the_command_line_says_which(
    run: Callable[..., Result], bundle: Path, module_folders: list[Path], short: list[Example], tmp_path: Path
) -> None:
    path = tmp_path / "short.jsonl"
    path.write_text("".join(json.dumps({"input": e.input, "output": e.output}) + "\n" for e in short))
    arguments = ("adapt", bundle, path, "--modules", module_folders[0].parent, "--budget", 7, "--json")
    assert json.loads(run(*arguments, "--out", tmp_path / "a").stdout)["short"] is True
    limited = run(*arguments, "--out", tmp_path / "b", "--memory-limit", "1GB")
    assert json.loads(limited.stdout)["short"] is True


def test_the_plain_model_has_no_such_graphs(bundle: Path) -> None:
    with pytest.raises(SettingsError, match="fp32 has no graphs to score with LoRA in none, for short outputs, but"):
        Runner(load(bundle, threads=1), "score", plain_inputs((), "none"), short=True)


def swap(folder: Path, one: str, other: str) -> None:
    contents = (folder / one).read_bytes()
    (folder / one).write_bytes((folder / other).read_bytes())
    (folder / other).write_bytes(contents)


def test_graphs_with_keys_and_values_in_their_place(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    short = files(bundle, short=True)
    swap(copy, *short)
    with pytest.raises(BundleError, match=r"encoder.absorbed.onnx: not what the manifest says"):
        load(copy)

    def refused() -> None:
        sign(copy)
        model = load(copy, threads=1)
        with pytest.raises(BundleError, match=r"its graphs and its manifest differ .*; export the bundle again"):
            model.sessions(model.manifest.graph("score", Variant(short=True)))

    refused()
    swap(copy, *short)
    # the encoders take the same inputs, so the encoder alone is told by what it gives
    for own, whole in zip(short, files(bundle, short=False), strict=True):
        shutil.copyfile(copy / whole, copy / own)
        refused()
