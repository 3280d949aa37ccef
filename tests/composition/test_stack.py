"""Both compositions against the deltas written out, and their degenerate cases."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scores import score
from threadpoolctl import threadpool_limits

from edge_lorahub import EdgeLorahubError, EdgeLorahubWarning, Example, Model, Modules, load, load_adapter
from edge_lorahub.bench.latency import RandomLora
from edge_lorahub.bundle.graphs import lora_a_name, lora_b_name, lora_scale_name
from edge_lorahub.bundle.manifest import Slot
from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.composition.exact import ExactStack
from edge_lorahub.composition.inputs import LoraInputs
from edge_lorahub.composition.pairs import compose_pairs
from edge_lorahub.composition.paper import Int8PaperStack, PaperStack
from edge_lorahub.composition.stack import COMPOSITIONS, lora_type_for, make_stack, plain_inputs
from edge_lorahub.errors import SettingsError
from edge_lorahub.export import export
from edge_lorahub.learning.loss_evaluator import LossEvaluator
from edge_lorahub.learning.objective import mean_loss, regularization
from edge_lorahub.learning.workbench import Workbench
from edge_lorahub.lora.pair import Lora
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.testing.random_models import write_module

WEIGHTS = np.array([0.7, -1.2, 0.3, 1.5])


def delta(inputs: LoraInputs, slot: Slot) -> np.ndarray:
    """The change of a slot's (d_in, d_out) weight that the graphs' inputs stand for."""
    a, scale, b = (inputs.arrays[name(slot.name)] for name in (lora_a_name, lora_scale_name, lora_b_name))
    return (a.astype(float) * scale) @ b


def matrices(folder: Path, slot: Slot, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """A (r, d_in) and alpha/r B (d_out, r) of a module, read with safetensors alone."""
    tensors = load_file(folder / "adapter_model.safetensors")
    a, b = (tensors[f"base_model.model.{slot.name}.lora_{side}.weight"].astype(float) for side in "AB")
    return a, alpha / len(a) * b


ALPHAS = (8, 4, 4, 9)  # of the fixture's modules


def test_exact_is_the_weighted_sum_of_products(model: Model, modules: Modules, module_folders: list[Path]) -> None:
    inputs = make_stack(list(modules), model.manifest, "exact").inputs()
    inputs.compose(WEIGHTS)
    for slot in model.manifest.slots:
        pairs = [matrices(folder, slot, alpha) for folder, alpha in zip(module_folders, ALPHAS, strict=True)]
        expected = sum(w * (b @ a).T for w, (a, b) in zip(WEIGHTS, pairs, strict=True))
        np.testing.assert_allclose(delta(inputs, slot), expected, atol=1e-5)


def test_paper_is_the_product_of_weighted_sums(model: Model, modules: Modules, module_folders: list[Path]) -> None:
    inputs = make_stack(list(modules), model.manifest, "paper").inputs()
    inputs.compose(WEIGHTS)
    for slot in model.manifest.slots:
        a, b = np.zeros((4, slot.d_in)), np.zeros((slot.d_out, 4))  # smaller ranks are padded with zeros
        for folder, alpha, w in zip(module_folders, ALPHAS, WEIGHTS, strict=True):
            one_a, one_b = matrices(folder, slot, alpha)
            a[: len(one_a)] += w * one_a
            b[:, : len(one_a)] += w * one_b
        np.testing.assert_allclose(delta(inputs, slot), (b @ a).T, atol=1e-5)


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_inputs_keep_their_memory(model: Model, modules: Modules, composition: str) -> None:
    inputs = make_stack(list(modules), model.manifest, composition).inputs()
    before = {name: array.ctypes.data for name, array in inputs.arrays.items()}
    inputs.compose(WEIGHTS)
    assert {name: array.ctypes.data for name, array in inputs.arrays.items()} == before


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_two_inputs_of_a_stack_are_independent(model: Model, modules: Modules, composition: str) -> None:
    stack = make_stack(list(modules), model.manifest, composition)
    first, second = stack.inputs(), stack.inputs()
    slot = model.manifest.slots[0]
    first.compose(WEIGHTS)
    expected = delta(first, slot)
    second.compose(-0.5 * WEIGHTS)
    np.testing.assert_array_equal(delta(first, slot), expected)


def losses(model: Model, inputs: LoraInputs, examples: list[Example]) -> np.ndarray:
    return score(Runner(model, "score", inputs), examples, 2048, 256).means()


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_one_hot_is_that_module_and_zero_the_plain_model(
    model: Model, modules: Modules, examples: list[Example], composition: str
) -> None:
    inputs = make_stack(list(modules), model.manifest, composition).inputs()
    plain = losses(model, plain_inputs(model.manifest.slots), examples)
    for index, module in enumerate(modules):
        inputs.compose(np.eye(4)[index])
        adapter = load_adapter(module.folder, model.manifest)
        alone = losses(model, adapter.inputs(model.manifest), examples)
        np.testing.assert_allclose(losses(model, inputs, examples), alone, rtol=1e-5)
        assert not np.allclose(alone, plain, rtol=1e-3)
    inputs.compose(np.zeros(4))
    np.testing.assert_allclose(losses(model, inputs, examples), plain, rtol=1e-6)


def test_int8_matrices_are_those_of_float32_to_a_percent(model: Model, modules: Modules) -> None:
    slots = model.manifest.slots
    stacks = [make_stack(list(modules), model.manifest, "exact", lora_type) for lora_type in ("float32", "int8")]
    exact, close = (stack.inputs() for stack in stacks)
    assert [exact.lora_type, close.lora_type] == ["float32", "int8"]
    for weights in (WEIGHTS, np.eye(4)[2], np.zeros(4)):
        exact.compose(weights)
        close.compose(weights)
        for slot in slots:
            assert close.arrays[lora_a_name(slot.name)].dtype == np.int8
            assert close.arrays[lora_b_name(slot.name)].dtype == np.int8
            expected, found = delta(exact, slot), delta(close, slot)
            assert np.linalg.norm(found - expected) <= 0.01 * np.linalg.norm(expected)


def test_paper_composition_in_int8_is_that_of_float32_to_a_percent(model: Model, modules: Modules) -> None:
    """Every A and B of the composition: modules of several ranks, so with padding."""
    manifest = replace(model.manifest, precision="int8")
    stacks = [make_stack(list(modules), m, "paper") for m in (model.manifest, manifest)]
    assert [type(stack) for stack in stacks] == [PaperStack, Int8PaperStack]
    assert stacks[0].width == stacks[1].width
    exact, close = (stack.inputs() for stack in stacks)
    assert exact.lora_type == close.lora_type == "float32"
    for weights in (WEIGHTS, np.eye(4)[2], np.zeros(4)):
        exact.compose(weights)
        close.compose(weights)
        for name, expected in exact.arrays.items():
            assert close.arrays[name].dtype == np.float32
            assert np.linalg.norm(close.arrays[name] - expected) <= 0.01 * np.linalg.norm(expected)


@pytest.mark.parametrize("std", [0.1, 1e-6])
@pytest.mark.filterwarnings("ignore:idle")
def test_a_module_that_lacks_a_slot_does_not_coarsen_it_in_int8(model: Model, tmp_path: Path, std: float) -> None:
    """Nor one with zeros there: their weights count for nothing among those of the others."""
    slots = model.manifest.slots
    folders = [write_module(tmp_path / f"m{i}", "tiny", seed=i, rank=2, std=std) for i in range(4)]
    folders.append(write_module(tmp_path / "only-q", "tiny", seed=4, rank=2, std=std, kinds=("q",)))
    modules = list(Modules.load(folders))
    weights = np.array([0.3, -0.2, 0.1, 0.4, 1.5])
    shapes = {slot.name: ((2, slot.d_in), (slot.d_out, 2)) for slot in slots[:2]}
    zeros = {name: Lora(np.ones(a, np.float32), np.zeros(b, np.float32), 1.0) for name, (a, b) in shapes.items()}
    idle = Adapter("idle", "tiny", zeros)
    for sources in (modules, [*modules[:4], idle]):
        exact, close = (kind(sources, slots).inputs() for kind in (PaperStack, Int8PaperStack))
        exact.compose(weights)
        close.compose(weights)
        for name, expected in exact.arrays.items():
            assert np.linalg.norm(close.arrays[name] - expected) <= 0.01 * np.linalg.norm(expected)


@pytest.mark.parametrize("held", ["float32", "int8"])
@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("candidates", [1, 6, 70])
def test_what_is_composed_does_not_depend_on_the_cuts(held: str, rank: int, candidates: int) -> None:
    """Bit for bit, for one candidate and for many; with blocks within a slot, and a last one that is not full.

    On one BLAS thread, as the evaluator composes: BLAS makes cuts of its own for several.
    """
    rng = np.random.default_rng(rank)
    slots = [Slot(f"s{i}", "q", d_in, d_out, 0) for i, (d_in, d_out) in enumerate([(37, 140001), (700, 13)])]
    sources = [RandomLora(slots, seed, rank) for seed in range(30)]
    stack = (PaperStack if held == "float32" else Int8PaperStack)(sources, slots)
    population = rng.normal(size=(candidates, 30))
    whole = np.empty((candidates, stack.width), np.float32)
    with threadpool_limits(1, "blas"):
        stack.compose(population, whole)
        for count in (2, 3, 4, 64):
            cuts = stack.cuts(count)
            assert (cuts[0], cuts[-1]) == (0, stack.width)
            assert sorted(set(cuts)) == cuts
            assert 2 < len(cuts) <= count + 1
            out = np.full_like(whole, np.nan)
            for start, end in pairwise(cuts):
                stack.compose(population, out, slice(start, end))
            np.testing.assert_array_equal(out, whole)
    expected = population.astype(np.float32) @ PaperStack(sources, slots).matrix
    tolerance = 1e-5 if held == "float32" else 0.02
    assert np.linalg.norm(whole - expected) <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize(("composition", "lora_type"), [("exact", "float32"), ("exact", "int8"), ("paper", "float32")])
def test_a_stack_has_the_slots_of_its_modules(model: Model, tmp_path: Path, composition: str, lora_type: str) -> None:
    only_q = write_module(tmp_path / "only-q", "tiny", seed=2, rank=3, kinds=("q",))
    stack = make_stack(list(Modules.load([only_q])), model.manifest, composition, lora_type)
    assert stack.slots == tuple(slot for slot in model.manifest.slots if slot.kind == "q")
    inputs = stack.inputs()
    assert set(inputs.arrays) == {
        name(slot.name) for slot in stack.slots for name in (lora_a_name, lora_scale_name, lora_b_name)
    }
    # the adapter of that module alone as well
    assert load_adapter(only_q).inputs(model.manifest).arrays.keys() == inputs.arrays.keys()


def test_a_slot_of_no_module_in_a_candidate_has_a_rank_of_zeros_in_int8(model: Model, tmp_path: Path) -> None:
    folders = [write_module(tmp_path / kind, "tiny", seed=2, rank=3, kinds=(kind,)) for kind in "qv"]
    stack = ExactStack.of(list(Modules.load(folders)), model.manifest.slots, "int8").of_modules(np.zeros(1, np.intp))
    inputs = stack.inputs()
    inputs.compose(np.ones(1, np.float64))
    for slot in model.manifest.slots:
        assert inputs.arrays[lora_a_name(slot.name)].shape == (slot.d_in, 3 if slot.kind == "q" else 1)
        assert delta(inputs, slot).any() == (slot.kind == "q")


def test_paper_composition_is_in_float32(model: Model, modules: Modules) -> None:
    with pytest.raises(SettingsError, match="paper composition gives LoRA in float32, not in int8"):
        make_stack(list(modules), model.manifest, "paper", "int8")


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_composed_pairs_are_what_the_inputs_hold(model: Model, modules: Modules, composition: str) -> None:
    inputs = make_stack(list(modules), model.manifest, composition).inputs()
    for weights in (WEIGHTS, np.array([0.0, 0.5, 0.0, -1.0])):
        inputs.compose(weights)
        pairs = compose_pairs(list(modules), weights, composition)
        for slot in model.manifest.slots:
            lora = pairs[slot.name]
            assert lora.scale == 1
            np.testing.assert_allclose((lora.b.astype(float) @ lora.a).T, delta(inputs, slot), atol=1e-5)
    assert compose_pairs(list(modules), np.zeros(4), composition) == {}


def test_the_two_compositions_agree_on_one_module(model: Model, module_folders: list[Path]) -> None:
    """sum of one product = product of sums of one; in paper mode w counts twice."""
    modules = list(Modules.load(module_folders[:1]))
    exact, paper = (make_stack(modules, model.manifest, c).inputs() for c in COMPOSITIONS)
    exact.compose(np.array([0.25]))
    paper.compose(np.array([0.5]))
    for slot in model.manifest.slots:
        np.testing.assert_allclose(delta(exact, slot), delta(paper, slot), atol=1e-6)


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_a_slot_that_a_module_lacks_gets_nothing_from_it(model: Model, tmp_path: Path, composition: str) -> None:
    both = write_module(tmp_path / "both", "tiny", seed=1, rank=2)
    only_q = write_module(tmp_path / "only-q", "tiny", seed=2, rank=3, kinds=("q",))
    inputs = make_stack(list(Modules.load([both, only_q])), model.manifest, composition).inputs()
    alone = make_stack(list(Modules.load([both])), model.manifest, composition).inputs()
    inputs.compose(np.array([1.0, 1.0]))
    alone.compose(np.array([1.0]))
    for slot in model.manifest.slots:
        same = np.allclose(delta(inputs, slot), delta(alone, slot), atol=1e-6)
        assert same == (slot.kind == "v")


def test_numbers_that_are_not_finite_are_refused(model: Model) -> None:
    slot = model.manifest.slots[0]
    a = np.zeros((1, slot.d_in), np.float32)
    a[0, 3] = np.nan
    broken = Adapter("broken", "tiny", {slot.name: Lora(a, np.ones((slot.d_out, 1), np.float32), 1.0)})
    with pytest.raises(EdgeLorahubError, match=r"broken: .*lora_A has numbers that are not finite"):
        make_stack([broken], model.manifest, "exact")


def test_a_module_that_does_nothing_is_named(model: Model, tmp_path: Path) -> None:
    idle = write_module(tmp_path / "idle", "tiny", seed=1, std=0.0)
    with pytest.warns(EdgeLorahubWarning, match="idle: all of its B are zero"):
        make_stack(list(Modules.load([idle])), model.manifest, "paper")


def test_copies_are_named(module_folders: list[Path], tmp_path: Path) -> None:
    shutil.copytree(module_folders[0], tmp_path / "twin")
    with pytest.warns(EdgeLorahubWarning, match="under several names: module-0, twin"):
        Modules.load([module_folders[0], module_folders[1], tmp_path / "twin"])


@pytest.mark.parametrize("lora_type", ["float32", "int8"])
@pytest.mark.parametrize("members", [[0], [2], [1, 2], [0, 3], [0, 1, 2, 3]])
def test_the_stack_of_some_modules_is_the_stack_without_the_others(
    model: Model, modules: Modules, lora_type: str, members: list[int]
) -> None:
    """What a candidate with zeros stands for is the same without the modules that have them, to the last bit."""
    stack = ExactStack.of(list(modules), model.manifest.slots, lora_type)
    some = stack.of_modules(np.array(members))
    weights = np.zeros(4)
    weights[members] = WEIGHTS[members]
    whole, part = stack.inputs(), some.inputs()
    whole.compose(weights)
    part.compose(weights[members])
    assert some.width == stack.width_of(np.array(members))
    for slot in model.manifest.slots:
        np.testing.assert_array_equal(delta(part, slot), delta(whole, slot))
        for name in (lora_a_name, lora_b_name):
            assert part.arrays[name(slot.name)].flags.c_contiguous
            assert part.arrays[name(slot.name)].dtype == lora_type


def test_some_modules_that_lack_a_slot(model: Model, modules: Modules, tmp_path: Path) -> None:
    only_q = Modules.load([write_module(tmp_path / "q", "tiny", seed=9, rank=2, kinds=("q",))])
    both = [*modules, *only_q]
    for lora_type, rank in (("float32", 0), ("int8", 1)):
        some = ExactStack.of(both, model.manifest.slots, lora_type).of_modules(np.array([4]))
        inputs = some.inputs()
        inputs.compose(np.ones(1))
        for slot in model.manifest.slots:
            assert inputs.arrays[lora_a_name(slot.name)].shape == (slot.d_in, 2 if slot.kind == "q" else rank)
            assert (np.abs(delta(inputs, slot)).max(initial=0) > 0) == (slot.kind == "q")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_candidates_with_zeros_have_the_losses_of_whole_ones(
    checkpoint: Path, bundle: Path, modules: Modules, examples: list[Example], precision: str, tmp_path: Path
) -> None:
    """Both ways of evaluating give the same losses: alone with its modules, and with all of them."""
    if precision == "int8":
        bundle = tmp_path / "int8"
        export(checkpoint, bundle, precision="int8")
    model = load(bundle, threads=2)
    stack = make_stack(list(modules), model.manifest, "exact", lora_type_for(model.manifest, "exact"))
    workbench = Workbench(model, stack, examples, max_input_tokens=64, max_output_tokens=64, workers=2)
    evaluate = LossEvaluator(workbench, partial(regularization, strength=0.2), mean_loss)
    population = np.diag(WEIGHTS)
    sparse = evaluate.losses(population)
    whole = evaluate.losses(np.where(population == 0, 1e-30, population))
    np.testing.assert_allclose(sparse, whole, rtol=1e-6)
    one_by_one = [evaluate.losses(w[None])[0] for w in population]
    np.testing.assert_array_equal(sparse, one_by_one)
