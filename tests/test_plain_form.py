"""Graphs without LoRA inputs: the plain model, a little faster."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import sign

from edge_lorahub import Example, Modules, adapt, bake, generate, load, load_adapter
from edge_lorahub.bundle.manifest import GRAPHS
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import BundleError, SettingsError
from edge_lorahub.export import export
from edge_lorahub.runtime.binding import Runner, Scoring

PRECISIONS = ("fp32", "int8")
TEXTS = ["w3 w9 w27", "w5", " ".join(f"w{i}" for i in range(3, 60))]


@pytest.fixture(scope="module")
def bundles(checkpoint: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny checkpoint in both precisions. Not to be changed by a test: copy them."""
    quantised = tmp_path_factory.mktemp("plain") / "int8"
    export(checkpoint, quantised, precision="int8")
    return {"fp32": bundle, "int8": quantised}


def logits(bundle: Path, form: str) -> np.ndarray:
    model = load(bundle, threads=1, lora=form)
    ids, mask = model.tokens.pad(model.tokens.encode(TEXTS, 99))
    labels = np.random.default_rng(0).integers(3, 120, (len(ids), 7))
    scoring = Scoring(Runner(model, plain_inputs(model.manifest.slots, form)), ids, mask, labels)
    scoring.run()
    return scoring.logits


@pytest.mark.parametrize("precision", PRECISIONS)
def test_it_is_the_model_with_lora_of_rank_0(bundles: dict[str, Path], precision: str) -> None:
    np.testing.assert_array_equal(logits(bundles[precision], "none"), logits(bundles[precision], "float32"))
    texts = [*TEXTS, "w7 w8"]
    answers = [generate(load(bundles[precision], threads=1, lora=form), texts) for form in ("none", "float32")]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) > 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_its_graphs_have_no_lora(bundles: dict[str, Path], precision: str) -> None:
    for plain, whole in zip(GRAPHS["none"], GRAPHS["float32"], strict=True):
        graphs = [onnx.load(bundles[precision] / name, load_external_data=False).graph for name in (plain, whole)]
        inputs, all_inputs = ({i.name for i in graph.input} for graph in graphs)
        assert inputs == {name for name in all_inputs if ".lora_" not in name} < all_inputs
        weights, all_weights = ({t.name for t in graph.initializer if t.external_data} for graph in graphs)
        assert weights == all_weights
        assert len(graphs[0].node) < len(graphs[1].node)


def test_a_baked_bundle_has_it_too(bundle: Path, module_folders: list[Path], tmp_path: Path) -> None:
    adapter = load_adapter(module_folders[0])
    bake(bundle, adapter, tmp_path / "baked")
    baked = generate(load(tmp_path / "baked", threads=1, lora="none"), TEXTS)
    assert baked == generate(load(bundle, threads=1), TEXTS, adapter=adapter)
    assert baked != generate(load(bundle, threads=1, lora="none"), TEXTS)


def test_it_takes_no_adapter(bundle: Path, module_folders: list[Path], examples: list[Example]) -> None:
    model = load(bundle, threads=1, lora="none")
    with pytest.raises(SettingsError, match="loaded without LoRA; load it without lora='none' to use an adapter"):
        generate(model, TEXTS, adapter=load_adapter(module_folders[0]))
    with pytest.raises(SettingsError, match="loaded without LoRA; load it without lora='none' to compose modules"):
        adapt(model, Modules.load(module_folders), examples)
    with pytest.raises(SettingsError, match="LoRA in none needs a model that was loaded with lora='none'"):
        Runner(load(bundle, threads=1), plain_inputs((), "none"))


def test_graphs_that_do_take_lora(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    for plain, whole in zip(GRAPHS["none"], GRAPHS["float32"], strict=True):
        shutil.copyfile(copy / whole, copy / plain)
    sign(copy)
    with pytest.raises(BundleError, match=r"its graphs and its manifest differ .*; export the bundle again"):
        load(copy, lora="none")
