"""Absorbed graphs: the loss of short answers without keys and values of the inputs."""

from __future__ import annotations

import json
import shutil
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import sign
from click.testing import Result

from edge_lorahub import Example, Model, Modules, Settings, adapt, generate, load, load_to_adapt
from edge_lorahub.bundle.manifest import ABSORBED_GRAPHS, GRAPHS, read_manifest
from edge_lorahub.composition.inputs import LoraInputs
from edge_lorahub.composition.stack import make_stack, plain_inputs
from edge_lorahub.errors import BundleError, ExamplesError, SettingsError
from edge_lorahub.export import export
from edge_lorahub.learning.adaptation import learn
from edge_lorahub.runtime.binding import Runner, Scoring
from edge_lorahub.runtime.scoring import absorbing_is_faster
from edge_lorahub.testing.random_models import write_checkpoint, write_module

WEIGHTS = np.array([0.3, -0.5, 1.0])
# heads times their size is not the model's width, as in flan-t5-small; and a tied head
SIZES = ("tiny", "tiny-t5")


@pytest.fixture(scope="module")
def short(examples: list[Example]) -> list[Example]:
    """With outputs of one word, and the end token."""
    return [Example(e.input, e.output.split()[0]) for e in examples]


def logits(model: Model, inputs: LoraInputs) -> np.ndarray:
    """Of a padded batch of random ids, (B, S, V)."""
    rng = np.random.default_rng(0)
    ids, labels = rng.integers(3, 100, (3, 9)), rng.integers(3, 100, (3, 5))
    mask = np.ones_like(ids)
    mask[1, 4:] = 0
    scoring = Scoring(Runner(model, inputs), ids, mask, labels)
    scoring.run()
    return scoring.logits


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
        for absorbed in (False, True):
            model = load(bundle, threads=1, lora=lora, absorbed=absorbed)
            inputs = make_stack(modules, model.manifest, "exact", lora).inputs()
            inputs.compose(WEIGHTS)
            found[precision, lora, absorbed] = logits(model, inputs)
            plain = logits(model, plain_inputs(model.manifest.slots, lora))  # float32: of rank 0
            assert np.abs(plain - found[precision, lora, absorbed]).max() > 0.05 * np.abs(plain).max()
    truth = found["fp32", "float32", False]
    np.testing.assert_allclose(found["fp32", "float32", True], truth, atol=1e-5 * np.abs(truth).max())

    def error(of: np.ndarray) -> float:
        return float(np.sqrt(np.square(of - truth).mean() / np.square(truth).mean()))

    for lora in ("float32", "int8"):
        assert error(found["int8", lora, True]) < 1.5 * error(found["int8", lora, False])


def test_a_slot_that_no_module_has(bundle: Path, tmp_path: Path) -> None:
    only_q = Modules.load([write_module(tmp_path / "q", "tiny", seed=1, rank=4, kinds=("q",), std=0.1)])
    found = []
    for absorbed in (False, True):
        model = load(bundle, threads=1, absorbed=absorbed)
        for composition in ("paper", "exact"):
            inputs = make_stack(list(only_q), model.manifest, composition).inputs()
            inputs.compose(np.ones(1))
            found.append(logits(model, inputs))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-5 * np.abs(found[0]).max())


def test_it_has_no_past_and_no_keys_and_values(bundle: Path) -> None:
    for name in ABSORBED_GRAPHS["float32"]:
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
        for pair in (ABSORBED_GRAPHS["float32"], GRAPHS["float32"])
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
    batches = [(30, label) for label in labels]
    for folder, short in ((bundle, fp32), (tmp_path / "int8", int8)):
        manifest = read_manifest(folder)
        assert manifest.model.head_size == 8
        assert absorbing_is_faster(manifest, batches) is short


def test_loading_to_adapt(bundle: Path, modules: Modules, short: list[Example]) -> None:
    """The same weights as with the graphs for everything."""
    settings = Settings(budget=20, composition="paper")
    model = load_to_adapt(bundle, short, settings, threads=2)
    assert (model.absorbed, model.lora, model.workers) == (True, "float32", 2)
    found, expected = (adapt(m, modules, short, settings) for m in (model, load(bundle, threads=1)))
    assert found.adapter.record["absorbed"] is True
    assert expected.adapter.record["absorbed"] is False
    assert found.weights == pytest.approx(expected.weights, abs=1e-4)
    assert found.loss_after == pytest.approx(expected.loss_after, rel=1e-5)
    with pytest.raises(SettingsError, match="to adapt to short answers; load it with load, and without absorbed, to"):
        generate(model, ["w1"])
    with pytest.raises(SettingsError, match="a text_objective generates; load the model with load, not with load_to_"):
        adapt(model, modules, short, settings, text_objective=lambda texts, _: 0.0)


def test_the_model_can_go_before_the_adapter_is_made(bundle: Path, modules: Modules, short: list[Example]) -> None:
    model = load_to_adapt(bundle, short, threads=1)
    found = learn(model, modules, short, Settings(budget=7))
    left = weakref.ref(model)
    del model
    assert left() is None
    adapter = found.compose(modules)
    expected = adapt(load_to_adapt(bundle, short, threads=1), modules, short, Settings(budget=7)).adapter
    assert adapter.pairs.keys() == expected.pairs.keys()
    for layer, lora in adapter.pairs.items():
        np.testing.assert_array_equal(lora.b, expected.pairs[layer].b)


def test_what_else_it_depends_on(bundle: Path, checkpoint: Path, examples: list[Example], tmp_path: Path) -> None:
    assert not load_to_adapt(bundle, examples, threads=1).absorbed
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # `adapt` says that outputs are cut, once
        assert load_to_adapt(bundle, examples, Settings(max_output_tokens=2), threads=1).absorbed
    assert load_to_adapt(bundle, examples, Settings(optimizer="reference"), threads=2).workers == 1
    assert load_to_adapt(bundle, examples, threads=2, workers=1).workers == 1
    export(checkpoint, tmp_path / "int8", precision="int8")
    assert load_to_adapt(tmp_path / "int8", examples, threads=1).lora == "int8"
    assert load_to_adapt(tmp_path / "int8", examples, Settings(composition="paper"), threads=1).lora == "float32"
    with pytest.raises(ExamplesError, match="no examples"):
        load_to_adapt(bundle, [])


def test_the_command_line_says_which(
    run: Callable[..., Result], bundle: Path, module_folders: list[Path], short: list[Example], tmp_path: Path
) -> None:
    path = tmp_path / "short.jsonl"
    path.write_text("".join(json.dumps({"input": e.input, "output": e.output}) + "\n" for e in short))
    arguments = ("adapt", bundle, path, "--modules", module_folders[0].parent, "--budget", 7, "--json")
    assert json.loads(run(*arguments, "--out", tmp_path / "a").stdout)["absorbed"] is True
    limited = run(*arguments, "--out", tmp_path / "b", "--memory-limit", "1GB")
    assert json.loads(limited.stdout)["absorbed"] is True


def test_a_form_that_is_never_absorbed(bundle: Path) -> None:
    with pytest.raises(SettingsError, match="lora must be 'float32' for this bundle, absorbed, got 'none'"):
        load(bundle, lora="none", absorbed=True)


def swap(folder: Path, one: str, other: str) -> None:
    contents = (folder / one).read_bytes()
    (folder / one).write_bytes((folder / other).read_bytes())
    (folder / other).write_bytes(contents)


def test_graphs_with_keys_and_values_in_their_place(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    swap(copy, *ABSORBED_GRAPHS["float32"])
    with pytest.raises(BundleError, match=r"encoder.absorbed.onnx: not what the manifest says"):
        load(copy, absorbed=True)
    sign(copy)
    with pytest.raises(BundleError, match=r"its graphs and its manifest differ .*; export the bundle again"):
        load(copy, absorbed=True)
    swap(copy, *ABSORBED_GRAPHS["float32"])
    # the encoders take the same inputs, so the encoder alone is told by what it gives
    for absorbed, whole in zip(ABSORBED_GRAPHS["float32"], GRAPHS["float32"], strict=True):
        shutil.copyfile(copy / whole, copy / absorbed)
        sign(copy)
        with pytest.raises(BundleError, match=r"its graphs and its manifest differ .*; export the bundle again"):
            load(copy, absorbed=True)
