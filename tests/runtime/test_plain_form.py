"""Graphs without LoRA inputs: the plain model, a little faster."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import sign
from scores import forced

from edge_lorahub import Example, Modules, adapt, bake, generate, load, load_adapter
from edge_lorahub.bundle.graphs import Variant
from edge_lorahub.bundle.manifest import read_manifest
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import BundleError
from edge_lorahub.export import export
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.generation import generate_with

PRECISIONS = ("fp32", "int8")
TEXTS = ["w3 w9 w27", "w5", " ".join(f"w{i}" for i in range(3, 60))]


@pytest.fixture(scope="module")
def bundles(checkpoint: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny checkpoint in both precisions. Not to be changed by a test: copy them."""
    quantized = tmp_path_factory.mktemp("plain") / "int8"
    export(checkpoint, quantized, precision="int8")
    return {"fp32": bundle, "int8": quantized}


def plain_runner(bundle: Path, role: str, lora_type: str) -> Runner:
    model = load(bundle, threads=1)
    return Runner(model, role, plain_inputs(model.manifest.slots, lora_type))


def graph_files(bundle: Path) -> list[tuple[str, str]]:
    """Each file of the plain form, and the one in its place that takes LoRA."""
    plain, whole = (read_manifest(bundle).graph("score", Variant(lora)).files for lora in ("none", "float32"))
    return list(zip(plain, whole, strict=True))


def logits(bundle: Path, lora_type: str) -> np.ndarray:
    runner = plain_runner(bundle, "score", lora_type)
    model = runner.model
    ids, mask = model.tokens.pad(model.tokens.encode(TEXTS, 99))
    labels = np.random.default_rng(0).integers(3, 120, (len(ids), 7))
    return forced(runner, ids, mask, labels)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_is_the_model_with_lora_of_rank_0(bundles: dict[str, Path], precision: str) -> None:
    np.testing.assert_array_equal(logits(bundles[precision], "none"), logits(bundles[precision], "float32"))
    texts = [*TEXTS, "w7 w8"]
    answers = [
        generate_with(plain_runner(bundles[precision], "generate", lora_type), texts)
        for lora_type in ("none", "float32")
    ]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) > 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_its_graphs_have_no_lora(bundles: dict[str, Path], precision: str) -> None:
    for plain, whole in graph_files(bundles[precision]):
        graphs = [onnx.load(bundles[precision] / name, load_external_data=False).graph for name in (plain, whole)]
        inputs, all_inputs = ({i.name for i in graph.input} for graph in graphs)
        assert inputs == {name for name in all_inputs if ".lora_" not in name} < all_inputs
        weights, all_weights = ({t.name for t in graph.initializer if t.external_data} for graph in graphs)
        assert weights == all_weights
        assert len(graphs[0].node) < len(graphs[1].node)


def test_a_baked_bundle_has_it_too(bundle: Path, module_folders: list[Path], tmp_path: Path) -> None:
    adapter = load_adapter(module_folders[0])
    bake(bundle, adapter, tmp_path / "baked")
    baked = generate_with(plain_runner(tmp_path / "baked", "generate", "none"), TEXTS)
    assert baked == generate(load(bundle, threads=1), TEXTS, adapter=adapter)
    assert baked != generate_with(plain_runner(bundle, "generate", "none"), TEXTS)


def test_a_model_that_ran_without_lora_takes_it_too(
    bundle: Path, module_folders: list[Path], examples: list[Example]
) -> None:
    adapter = load_adapter(module_folders[0])
    model = load(bundle, threads=1)
    plain, with_lora = (model.manifest.graph("generate", Variant(lora)) for lora in ("none", "float32"))
    answers = generate(model, TEXTS)
    assert (model.has_loaded(plain), model.has_loaded(with_lora)) == (True, False)
    assert generate(model, TEXTS, adapter=adapter) == generate(load(bundle, threads=1), TEXTS, adapter=adapter)
    assert (model.has_loaded(plain), model.has_loaded(with_lora)) == (False, True)
    # what is there will do
    assert generate(model, TEXTS) == answers
    assert (model.has_loaded(plain), model.has_loaded(with_lora)) == (False, True)
    modules = Modules.load(module_folders)
    found, expected = (adapt(m, modules, examples, budget=7) for m in (model, load(bundle, threads=1)))
    assert found.weights == expected.weights


def test_graphs_that_do_take_lora(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    for plain, whole in graph_files(copy):
        shutil.copyfile(copy / whole, copy / plain)
    sign(copy)
    with pytest.raises(BundleError, match=r"its graphs and its manifest differ .*; export the bundle again"):
        plain_runner(copy, "score", "none")
