"""int8 bundles: what they hold, how close they are, and how that is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import sign
from click.testing import Result
from onnx import numpy_helper
from safetensors.numpy import load_file
from scipy.stats import spearmanr
from scores import score

from edge_lorahub import Example, Model, Modules, Settings, adapt, evaluate, generate, load, load_adapter
from edge_lorahub.bundle.graphs import Variant
from edge_lorahub.bundle.manifest import MANIFEST, WEIGHTS, Manifest, read_manifest
from edge_lorahub.composition.stack import lora_type_for, make_stack, plain_inputs
from edge_lorahub.errors import BundleError, SettingsError
from edge_lorahub.export import export
from edge_lorahub.export.checks import agreement as agreement_module
from edge_lorahub.export.checks.agreement import Agreement, candidates_for, compare
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.tensors.quantization import quantize_rows
from edge_lorahub.testing import random_models
from edge_lorahub.tinyhub import DEV_TASKS, ENTANGLED_MODULES
from edge_lorahub.tinyhub import examples as draw
from edge_lorahub.tinyhub.hub import BASE
from edge_lorahub.tinyhub.hub import module_folders as hub_modules


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """The embedded, trained base in both precisions."""
    folder = tmp_path_factory.mktemp("int8")
    for precision in ("fp32", "int8"):
        export(BASE, folder / precision, precision=precision)
    return {precision: load(folder / precision, threads=1) for precision in ("fp32", "int8")}


@pytest.fixture(scope="module")
def int8_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint in int8. Not to be changed by a test: copy it."""
    out = tmp_path_factory.mktemp("int8") / "tiny"
    export(checkpoint, out, precision="int8")
    return out


@pytest.mark.parametrize("rows", [1, 7, 1024, 1025, 2500])
def test_a_quantized_row_is_within_half_a_step(rows: int) -> None:
    matrix = np.random.default_rng(rows).standard_normal((rows, 5), dtype=np.float32)
    matrix[0] = 0
    values, scales = quantize_rows(matrix)
    assert values.dtype == np.int8
    assert scales.dtype == np.float32
    assert values.min() >= -127
    assert (np.abs(values[1:]).max(axis=1) == 127).all()
    assert (np.abs(values * scales[:, None] - matrix) <= scales[:, None] / 2 * (1 + 1e-5)).all()
    assert not values[0].any()
    assert scales[0] == 1


@pytest.mark.parametrize("size", ["tiny", "tiny-t5"])
def test_another_reader_finds_the_checkpoints_matrices(size: str, tmp_path: Path) -> None:
    """onnx's own reader, each product's weight times its scale, against the checkpoint."""
    checkpoint = random_models.write_checkpoint(tmp_path / size, size)
    manifest = export(checkpoint, tmp_path / "out", precision="int8")
    tensors = load_file(checkpoint / "model.safetensors")
    found = set()
    for name in manifest.graph("score", Variant()).files:
        graph = onnx.load(str(tmp_path / "out" / name)).graph
        held = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
        joined = {node.output[0]: list(node.input) for node in graph.node if node.op_type == "Concat"}
        for node in products:
            # several layers side by side, or one
            weights, scales = (joined.get(node.input[i], [node.input[i]]) for i in (1, 3))
            for weight_name, scale_name in zip(weights, scales, strict=True):
                weight, scale = held[weight_name], held[scale_name]
                expected = tensors[weight_name.removesuffix(".head")].T
                assert weight.dtype == np.int8
                assert (np.abs(weight * scale - expected) <= scale / 2 * (1 + 1e-5)).all()
                found.add(weight_name)
        # values that several layers read are quantized once
        inputs = [node.input[0] for node in graph.node if node.op_type == "Flatten"]
        quantized = [node for node in graph.node if node.op_type == "QuantizeLinear"]
        assert len(set(inputs)) == len(inputs) == len(quantized) < len(products)
        rows = held["shared.weight.rows"] * held["shared.weight.rows.scale"][:, None]
        assert np.abs(rows - tensors["shared.weight"]).max() <= held["shared.weight.rows.scale"].max() / 2 * (1 + 1e-5)
    head = "shared.weight.head" if size == "tiny-t5" else "lm_head.weight"
    assert found == {f"{layer}.weight" for layer, _, _ in random_models.linear_layers(size)} | {head}


def test_it_is_about_a_quarter_of_the_size(hub: dict[str, Model]) -> None:
    sizes = {precision: (hub[precision].folder / WEIGHTS).stat().st_size for precision in ("fp32", "int8")}
    assert sizes["int8"] < 0.32 * sizes["fp32"]  # 0.25, and the tiny model's norms, scales and pages
    assert hub["int8"].manifest.precision == "int8"


@pytest.mark.parametrize("kind", ["clean", "entangled"])
@pytest.mark.parametrize("lora_type", ["float32", "int8"])
def test_the_order_of_candidates_is_kept(
    hub: dict[str, Model], kind: str, lora_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With LoRA in int8, as `adapt` has it, and in float32, as the graphs that generate do."""

    def chosen(manifest: Manifest, composition: str) -> str:
        return lora_type if manifest.precision == "int8" else lora_type_for(manifest, composition)

    monkeypatch.setattr(agreement_module, "lora_type_for", chosen)
    modules = list(Modules.load(hub_modules(kind)))
    for unseen in DEV_TASKS[:3]:
        shots = [Example(*pair) for pair in draw(unseen.task, 5, 1)]
        agreement = compare(hub["fp32"], hub["int8"], modules, shots)
        assert agreement.losses.shape == (2, 1 + 3 * len(modules))
        assert agreement.rank_correlation > 0.99
        assert agreement.rank_correlation == pytest.approx(spearmanr(*agreement.losses).statistic)
        assert 0 < agreement.differences.mean() < 0.15


@pytest.mark.parametrize("name", ["copy-upper-json", "sort-initial-sentence", "count-invented-plain"])
def test_a_module_does_its_own_task(hub: dict[str, Model], name: str) -> None:
    held_out = [Example(*pair) for pair in draw(ENTANGLED_MODULES[name], 60, 11)]
    adapter = load_adapter(next(f for f in hub_modules("entangled") if f.name == name))
    assert evaluate(hub["int8"], held_out, adapter=adapter, batch_size=60).exact_match_percent >= 90


def test_one_hot_is_that_module(int8_bundle: Path, module_folders: list[Path], examples: list[Example]) -> None:
    model = load(int8_bundle, threads=1)
    alone = load_adapter(module_folders[1]).inputs(model.manifest)
    expected = score(Runner(model, "score", alone), examples, 99, 99).sums
    # a last bit can move a quantized value by a step; in paper composition the modules are in int8 too
    for composition, tolerance in (("exact", 2e-3), ("paper", 1e-2)):
        inputs = make_stack(list(Modules.load(module_folders)), model.manifest, composition).inputs()
        inputs.compose(np.array([0.0, 1.0, 0.0, 0.0]))
        found = score(Runner(model, "score", inputs), examples, 99, 99).sums
        assert found == pytest.approx(expected, rel=tolerance)


def test_lora_in_int8(
    int8_bundle: Path, bundle: Path, module_folders: list[Path], examples: list[Example], tmp_path: Path
) -> None:
    modules = Modules.load(module_folders)
    results = []
    for workers in (1, 2):
        model = load(int8_bundle, threads=workers)
        results.append(adapt(model, modules, examples, Settings(budget=20), workers=workers))
    assert results[0].adapter.record.lora_type == "int8"
    assert [c.loss for c in results[0].trace] == [c.loss for c in results[1].trace]
    # the adapter is of the modules' own numbers, and does in float32 what the search saw
    plain = load(int8_bundle, threads=1)
    for adapter, loss in ((None, results[0].loss_before), (results[0].adapter, results[0].loss_after)):
        inputs = adapter.inputs(plain.manifest) if adapter else plain_inputs(plain.manifest.slots)
        assert score(Runner(plain, "score", inputs), examples, 2048, 256).means().mean() == pytest.approx(
            loss, rel=1e-2
        )
    # the same model serves what needs other graphs
    assert adapt(model, modules, examples, budget=20, composition="paper").record.lora_type == "float32"
    assert generate(model, ["w1 w2"]) == generate(plain, ["w1 w2"])
    in_int8 = plain_inputs(plain.manifest.slots, "int8")
    with pytest.raises(SettingsError, match="a bundle in int8 has no graphs to generate with LoRA in int8, but with"):
        Runner(model, "generate", in_int8)
    with pytest.raises(SettingsError, match="a bundle in fp32 has no graphs to score with LoRA in int8, but with LoRA"):
        Runner(load(bundle, threads=1), "score", in_int8)
    with pytest.raises(SettingsError, match="a bundle in int8 has no graphs to score with LoRA in int4, but with LoRA"):
        plain.manifest.graph("score", Variant("int4"))


def test_graphs_of_the_wrong_form(int8_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(int8_bundle, copy)
    manifest = read_manifest(copy)
    graphs = (manifest.graph("score", Variant(lora_type)).files for lora_type in ("float32", "int8"))
    for plain, quantized in zip(*graphs, strict=True):
        shutil.copyfile(copy / plain, copy / quantized)
    sign(copy)
    with pytest.raises(BundleError, match="its graphs do not take LoRA in int8; export the bundle again"):
        Runner(load(copy, threads=1), "score", plain_inputs(manifest.slots, "int8"))


def test_lora_in_int8_in_every_kind_of_slot(tmp_path: Path) -> None:
    checkpoint = random_models.write_checkpoint(tmp_path / "tiny", "tiny")
    kinds = ("q", "k", "v", "o", "wi_0", "wi_1", "wo")
    export(checkpoint, tmp_path / "b", precision="int8", slots=kinds)
    module = random_models.write_module(tmp_path / "m", "tiny", seed=3, rank=4, kinds=kinds, std=0.2)
    task = [Example("w1 w2 w3 w4", "w5 w6")]
    losses = []
    model = load(tmp_path / "b", threads=1)
    for lora_type in ("float32", "int8"):
        inputs = make_stack(list(Modules.load([module])), model.manifest, "exact", lora_type).inputs()
        for weight in (0.0, 1.0):
            inputs.compose(np.array([weight]))
            losses.append(score(Runner(model, "score", inputs), task, 99, 99).sums[0])
    # the rows' scales are multiplied in another order, and a last bit can move a quantized value by a step
    assert losses[2] == pytest.approx(losses[0], rel=1e-3), "w = 0 is the plain model"
    assert abs(losses[1] - losses[0]) > 0.5, "the module does something"
    assert losses[3] == pytest.approx(losses[1], rel=0.01)


def test_the_whole_chain(
    run: Callable[..., Result], fails: Callable[..., str], checkpoint: Path, tmp_path: Path,
    module_folders: list[Path], examples_file: Path,
) -> None:  # fmt: skip
    bundle, adapter = tmp_path / "b", tmp_path / "a"
    result = run("export", checkpoint, bundle, "--precision", "int8")
    assert result.exit_code == 0, result.output
    assert "int8 against fp32 (random modules or texts): the losses of 25 candidates differ by" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "examples.jsonl"], "the fp32 export is gone"
    modules = [part for folder in module_folders for part in ("--module", folder)]
    result = run("adapt", bundle, examples_file, *modules, "--budget", 9, "--out", adapter, "--json")
    record = json.loads(result.stdout)
    assert record["precision"] == record["lora_type"] == "int8"
    result = run("adapt", bundle, examples_file, *modules, "--budget", 9, "--out", tmp_path / "p", "--json",
                 "--composition", "paper")  # fmt: skip
    assert json.loads(result.stdout)["lora_type"] == "float32"
    assert len(run("generate", bundle, "--adapter", adapter, "w10 w11", "--max-new-tokens", 4).stdout.splitlines()) == 1
    line = fails("bake", bundle, adapter, tmp_path / "baked")
    assert "int8 weights, into which no adapter can be merged; `edge-lorahub convert --to bundle --base" in line
    assert not (tmp_path / "baked").exists()


def test_the_check_with_ones_own_modules_and_examples(
    run: Callable[..., Result], fails: Callable[..., str], checkpoint: Path, tmp_path: Path,
    module_folders: list[Path], examples_file: Path,
) -> None:  # fmt: skip
    own = ("--check-module", module_folders[0], "--check-examples", examples_file)
    result = run("export", checkpoint, tmp_path / "own", "--precision", "int8", *own)
    assert "int8 against fp32: the losses of 4 candidates differ" in result.stdout
    result = run("export", checkpoint, tmp_path / "none", "--precision", "int8", "--no-check")
    assert result.exit_code == 0
    assert "against" not in result.output
    assert "--check-module and --check-examples are for" in fails("export", checkpoint, tmp_path / "c", *own)
    missing = ("--precision", "int8", "--check-examples", tmp_path / "nothing")
    assert "no such file of examples" in fails("export", checkpoint, tmp_path / "c", *missing)
    assert not (tmp_path / "c").exists(), "bad input is found before the export"


def test_an_order_that_is_not_kept_is_a_warning(
    run: Callable[..., Result], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = Agreement(np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0]]))
    assert swapped.rank_correlation == pytest.approx(0.8)
    monkeypatch.setattr(agreement_module, "check_export", lambda *_, **__: swapped)
    result = run("export", checkpoint, tmp_path / "b", "--precision", "int8")
    assert result.exit_code == 0
    assert "int8 does not keep the order of candidates (rank correlation 0.800, expected 0.95 or more)" in result.stderr
    assert "--check-module and --check-examples; --precision fp32 is exact" in result.stderr


def test_the_candidates_are_zero_the_modules_and_random_ones() -> None:
    candidates = candidates_for(3)
    assert candidates.shape == (10, 3)
    assert not candidates[0].any()
    assert (candidates[1:4] == np.eye(3)).all()
    assert (np.abs(candidates[4:]) <= 1.5).all()
    assert (candidates_for(3) == candidates).all()


def test_unknown_precisions(checkpoint: Path, int8_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="precision 'int3' is unknown; choose fp32 or int8"):
        export(checkpoint, tmp_path / "b", precision="int3")
    assert not (tmp_path / "b").exists()
    copy = tmp_path / "copy"
    shutil.copytree(int8_bundle, copy)
    record = json.loads((copy / MANIFEST).read_text()) | {"precision": "int2"}
    (copy / MANIFEST).write_text(json.dumps(record))
    with pytest.raises(BundleError, match="precision 'int2' is unknown, this program reads fp32 and int8"):
        read_manifest(copy)


def test_the_tied_head_in_int8_answers_as_in_float(tmp_path: Path) -> None:
    checkpoint = random_models.write_checkpoint(tmp_path / "tiny-t5", "tiny-t5")
    models = []
    for precision in ("fp32", "int8"):
        export(checkpoint, tmp_path / precision, precision=precision)
        models.append(load(tmp_path / precision, threads=1))
    assert generate(models[0], ["w9 w8 w7"], max_new_tokens=1) == generate(models[1], ["w9 w8 w7"], max_new_tokens=1)
    assert compare(*models).differences.max() < 0.1 * compare(*models).losses[0].max()
