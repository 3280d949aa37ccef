"""Slots that no module has: the graphs are loaded without them, and nothing else changes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import decoders
import numpy as np
import onnx
import pytest
from bundles import sign
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from edge_lorahub import Example, Model, adapt, generate, load, load_adapter
from edge_lorahub.bundle.graph_file import MODEL
from edge_lorahub.bundle.graphs import Graph, Variant, lora_a_name
from edge_lorahub.bundle.manifest import WEIGHTS, Manifest, Slot, read_manifest
from edge_lorahub.bundle.protobuf import MessageError, field, fields
from edge_lorahub.bundle.unused_slots import without_inputs, without_slots
from edge_lorahub.composition.inputs import LoraInputs
from edge_lorahub.composition.stack import make_stack, plain_inputs
from edge_lorahub.errors import BundleError
from edge_lorahub.export import export
from edge_lorahub.lora.pair import Lora
from edge_lorahub.machine.onnx_runtime import int8_is_wrong
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.scoring import Batches, Scorer
from edge_lorahub.testing.random_models import write_checkpoint, write_module

T5_KINDS = ("q", "k", "v", "o", "wi_0", "wi_1", "wo")
# widths whose sums onnxruntime makes in several blocks
WIDE = decoders.TINY["llama"] | {"hidden_size": 288, "intermediate_size": 400, "head_dim": 64}
DECODERS = {"llama": decoders.TINY["llama"], "qwen3": decoders.TINY["qwen3"], "wide": WIDE}
TEXTS = ["w5 w6 w7", "w5 w6 w20 w21", " ".join(f"w{i}" for i in range(3, 40))]
EXAMPLES = [Example(text, f"w{20 + i} w30") for i, text in enumerate(TEXTS)]


@dataclass(frozen=True)
class Source:
    """A module of random numbers for some slots."""

    slots: tuple[Slot, ...]
    seed: int
    name: str = "random"

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        return {slot.name: (2 + self.seed, slot.d_in, slot.d_out) for slot in self.slots}

    def loras(self) -> list[tuple[str, Lora]]:
        rng = np.random.default_rng(self.seed)
        sides = self.shapes.items()
        return [
            (name, Lora(*(rng.standard_normal(s).astype(np.float32) * np.float32(0.2) for s in ((r, i), (o, r))), 1.5))
            for name, (r, i, o) in sides
        ]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """With all slots, by model and precision. Not to be changed by a test: copy them."""
    folder = tmp_path_factory.mktemp("unused")
    found = {}
    for size in ("tiny", "tiny-t5"):
        checkpoint = write_checkpoint(folder / size, size)
        kinds = T5_KINDS if size == "tiny" else ("q", "k", "v", "o", "wi", "wo")
        for precision in ("fp32", "int8"):
            found[f"{size} {precision}"] = folder / f"{size}.{precision}"
            export(checkpoint, folder / f"{size}.{precision}", precision=precision, slots=kinds)
    for name, config in DECODERS.items():
        checkpoint = decoders.write_checkpoint(folder / name, config)
        for precision in ("fp32", "int8"):
            found[f"{name} {precision}"] = folder / f"{name}.{precision}"
            decoders.export_decoder(checkpoint, folder / f"{name}.{precision}", precision=precision)
    return found


PARTS = ("lora_A", "lora_scale", "lora_B")
MODELS = [f"{name} {precision}" for name in ("tiny", "tiny-t5", *DECODERS) for precision in ("fp32", "int8")]


def with_idle(inputs: LoraInputs, manifest: Manifest) -> LoraInputs:
    """The same with all other slots, idle: what graphs got before slots were left out."""
    others = [slot for slot in manifest.slots if lora_a_name(slot.name) not in inputs.arrays]
    arrays = {**inputs.arrays, **plain_inputs(others, inputs.lora_type).arrays}
    return LoraInputs(inputs._stack, arrays, inputs._row, inputs.lora_type)


def scored(bundle: Path, inputs: LoraInputs, *, short: bool) -> np.ndarray:
    model = load(bundle, threads=1)
    batches = Batches(model.bundle, model.bundle.encode(EXAMPLES, 99, 99))
    scorer = Scorer(Runner(model, "score", inputs, short=short), batches)
    return np.concatenate([logits.ravel() for scoring in scorer.scorings for logits in scoring.run()])


def generated(bundle: Path, inputs: LoraInputs) -> np.ndarray:
    """The logits of a few steps."""
    model = load(bundle, threads=1)
    architecture = model.architecture
    rows = model.bundle.sources(TEXTS, 99)
    decoding = architecture.decoding(Runner(model, "generate", inputs), rows, architecture.cache(model.manifest))
    found = [decoding.start().copy()]
    for _ in range(4):
        found.append(decoding.step(found[-1].argmax(axis=1)).copy())
    return np.stack(found)


def subsets(manifest: Manifest) -> st.SearchStrategy[list[Slot]]:
    """All slots of some kinds, of some layers, or any."""
    kinds = st.sets(st.sampled_from(manifest.kinds())).map(lambda k: [s for s in manifest.slots if s.kind in k])
    layers = st.sets(st.sampled_from("012")).map(
        lambda layers: [s for s in manifest.slots if layers.intersection(s.name.split("."))]
    )
    return kinds | layers | st.lists(st.sampled_from(manifest.slots), unique=True, max_size=5)


@pytest.mark.filterwarnings("ignore:random. all of its B are zero")  # a module without slots
@pytest.mark.parametrize("name", MODELS)
def test_nothing_else_changes(bundles: dict[str, Path], name: str) -> None:
    if name.endswith("int8") and int8_is_wrong():
        pytest.skip("onnxruntime computes int8 wrongly here, and otherwise at every run")
    bundle = bundles[name]
    manifest = read_manifest(bundle)
    graphs = [graph for graph in manifest.graphs if graph.lora_type != "none"]
    # a sum into which onnxruntime takes the residual is made in another order
    tolerance = 2e-6 if name == "wide fp32" else 0.0

    @settings(max_examples=12)
    @given(subsets(manifest), subsets(manifest), st.sampled_from(graphs), st.sampled_from(["exact", "paper"]))
    def compare(first: Sequence[Slot], second: Sequence[Slot], graph: Graph, composition: str) -> None:
        role, variant = graph.role, graph.variant
        sources = [Source(tuple(first), 0), Source(tuple(second), 1)]
        stack = make_stack(
            sources, manifest, "exact" if variant.lora_type == "int8" else composition, variant.lora_type
        )
        inputs = stack.inputs()
        inputs.compose(np.array([0.7, -0.4]))
        assert {slot.name for slot in stack.slots} == {slot.name for slot in (*first, *second)}
        both = [
            generated(bundle, one) if role == "generate" else scored(bundle, one, short=variant.short)
            for one in (inputs, with_idle(inputs, manifest))
        ]
        np.testing.assert_allclose(*both, rtol=0, atol=tolerance * np.abs(both[1]).max())

    compare()


@pytest.mark.parametrize("name", MODELS)
def test_without_any_slot_it_is_the_plain_graph(bundles: dict[str, Path], name: str) -> None:
    """But for layers that the plain graph of T5 in int8 computes side by side."""
    manifest = read_manifest(bundles[name])
    for graph in manifest.graphs:
        if graph.lora_type == "none":
            continue
        slots = [slot.name for slot in manifest.slots]
        found = [onnx.load_model_from_string(data).graph for data in without_slots(bundles[name], graph.files, slots)]
        assert not [i.name for one in found for i in one.input if ".lora_" in i.name]
        if graph.short or name in ("tiny int8", "tiny-t5 int8"):
            continue
        plain = manifest.graph(graph.role, Variant("none")).files
        for one, file in zip(found, plain, strict=True):
            expected = onnx.load(str(bundles[name] / file), load_external_data=False).graph
            assert [(n.op_type, n.domain, list(n.attribute)) for n in one.node] == [
                (n.op_type, n.domain, list(n.attribute)) for n in expected.node
            ]


@pytest.mark.filterwarnings("ignore:none of 3 candidates")
def test_the_sessions_of_a_search_have_its_modules_slots_alone(bundles: dict[str, Path], tmp_path: Path) -> None:
    module = write_module(tmp_path / "module", "tiny", seed=0, kinds=("q", "wo"))
    model = load(bundles["tiny int8"], threads=1)
    adapt(model, [module], EXAMPLES, budget=3)
    (loaded,) = model._loaded.values()
    named = {i.name for session in loaded.sessions for i in session.get_inputs() if ".lora_" in i.name}
    wanted = {f"{s.name}.{part}" for s in model.manifest.slots if s.kind in ("q", "wo") for part in PARTS}
    assert named == wanted


def test_adapters_that_take_turns(bundles: dict[str, Path], tmp_path: Path) -> None:
    """The graphs are loaded once for each one's slots, and then serve all; answers are as with a model of their own."""
    adapters = [
        load_adapter(write_module(tmp_path / f"module-{i}", "tiny", seed=i, rank=4, kinds=kinds, std=0.3))
        for i, kinds in enumerate([("q", "v"), ("wo", "wi_1"), ("k",)])
    ]
    bundle = bundles["tiny fp32"]
    model = load(bundle, threads=1)
    alone = [generate(load(bundle, threads=1), TEXTS, adapter=one) for one in (*adapters, None)]
    assert len({tuple(answers) for answers in alone}) == len(alone)
    for _ in range(2):
        assert [generate(model, TEXTS, adapter=one) for one in (*adapters, None)] == alone
    sessions = model.sessions(model.manifest.graph("generate", Variant()), slots=())
    assert [generate(model, TEXTS, adapter=one) for one in reversed([*adapters, None])] == alone[::-1]
    assert model.sessions(model.manifest.graph("generate", Variant()), slots=()) is sessions


def test_weights_that_are_elsewhere(bundles: dict[str, Path], tmp_path: Path) -> None:
    adapter = load_adapter(write_module(tmp_path / "module", "tiny", seed=0, kinds=("q",), std=0.3))
    linked = Path(shutil.copytree(bundles["tiny fp32"], tmp_path / "linked"))
    (tmp_path / "blobs").mkdir()
    (linked / WEIGHTS).replace(tmp_path / "blobs" / "0123")
    (linked / WEIGHTS).symlink_to("../blobs/0123")
    expected = generate(load(bundles["tiny fp32"], threads=1), TEXTS, adapter=adapter)
    assert generate(load(linked, threads=1), TEXTS, adapter=adapter) == expected


def changed(bundle: Path, folder: Path, change: Callable[[onnx.GraphProto, str], object]) -> Model:
    """A copy whose graph that scores is changed; change gets the graph and the A of a slot."""
    copy = Path(shutil.copytree(bundle, folder))
    (file,) = read_manifest(copy).graph("score", Variant()).files
    model = onnx.load(str(copy / file), load_external_data=False)
    change(model.graph, lora_a_name(read_manifest(copy).slots[-1].name))
    (copy / file).write_bytes(model.SerializeToString())
    sign(copy)
    return load(copy, threads=1)


def reads_it(graph: onnx.GraphProto, a: str) -> None:
    graph.node.append(helper.make_node("Shape", [a], ["size"]))
    graph.output.append(helper.make_tensor_value_info("size", onnx.TensorProto.INT64, [2]))


def does_not_take_it(graph: onnx.GraphProto, a: str) -> None:
    value = next(i for i in graph.input if i.name == a)
    value.name = "other"
    for node in graph.node:
        node.input[:] = ["other" if name == a else name for name in node.input]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (reads_it, r"score\.onnx: cannot be loaded \(it does more with LoRA than .*lora_A'\); export the bundle again"),
        (does_not_take_it, r"its graphs and its manifest differ \(.*lora_A\); export the bundle again"),
    ],
)
def test_a_graph_that_is_not_the_exporters(
    bundles: dict[str, Path], tmp_path: Path, change: Callable[[onnx.GraphProto, str], object], message: str
) -> None:
    model = changed(bundles["llama fp32"], tmp_path / "copy", change)
    inputs = make_stack([Source(model.manifest.slots[:2], 0)], model.manifest, "exact").inputs()
    with pytest.raises(BundleError, match=message):
        Runner(model, "score", inputs)


def test_a_damaged_graph(bundles: dict[str, Path]) -> None:
    manifest = read_manifest(bundles["llama int8"])
    data = (bundles["llama int8"] / "score.int8_lora.onnx").read_bytes()
    names = {lora_a_name(slot.name) for slot in manifest.slots}
    generator = random.Random(0)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(generator.randint(1, 3)):
            damaged[generator.randrange(len(data))] = generator.randrange(256)
        length = generator.choice([len(data), generator.randrange(len(data))])
        with suppress(MessageError, IndexError, StopIteration, ValueError):
            without_inputs(bytes(damaged[:length]), names)


def test_what_is_written_again_is_the_same(bundles: dict[str, Path]) -> None:
    """A message's fields, one after the other, are the message."""
    data = (bundles["llama int8"] / "score.int8_lora.onnx").read_bytes()
    numbers = {name: number for number, name in MODEL.items()}
    assert b"".join(field(numbers[name], value) for name, value in fields(data, MODEL)) == data
