"""A bundle of a stranger: its manifest, its graphs and its weights must be what the exporter writes, and agree."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decoders
import numpy as np
import onnx
import pytest
from bundles import sign
from onnx import TensorProto, helper, numpy_helper

from edge_lorahub import load, load_adapter
from edge_lorahub.bundle.encoder_decoder import graphs
from edge_lorahub.bundle.graph_file import OPERATORS, read_graph
from edge_lorahub.bundle.graphs import Variant
from edge_lorahub.bundle.manifest import MANIFEST, read_manifest
from edge_lorahub.convert.bake import bake
from edge_lorahub.errors import BundleError, CheckpointError
from edge_lorahub.export import export
from edge_lorahub.export.blocks.activations import ACTIVATIONS
from edge_lorahub.testing.random_models import write_checkpoint

Change = Callable[[dict[str, Any]], object]
# a bundle's graphs without LoRA: the encoder's and the decoder's
PLAIN = next(graph.files for graph in graphs("fp32") if graph.lora_type == "none")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def change_manifest(folder: Path, change: Change) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def change_graph(folder: Path, change: Callable[[onnx.ModelProto], object], names: tuple[str, ...]) -> None:
    for name in names:
        model = onnx.load(str(folder / name), load_external_data=False)
        change(model)
        (folder / name).write_bytes(model.SerializeToString())
    sign(folder)


def load_graphs(folder: Path, *variants: Variant) -> None:
    """The bundle with the sessions of its graphs for scoring, in these variants; none: of every graph that it has."""
    model = load(folder, threads=1)
    for graph in model.manifest.graphs:
        if not variants or (graph.role == "score" and graph.variant in variants):
            model.sessions(graph)


# names are names


@pytest.mark.parametrize(
    "name", ["../private.safetensors", "/etc/hostname", "/dev/zero", "sub/../../x", "..", "", "manifest.json", "a\\b"]
)
def test_digests_name_files_of_the_bundle_alone(copy: Path, name: str) -> None:
    change_manifest(copy, lambda m: m["sha256"].update({name: "0" * 64}))
    with pytest.raises(BundleError, match="which is no file of a bundle"):
        read_manifest(copy)


def test_no_digest_is_of_a_file_that_only_other_bundles_have(copy: Path) -> None:
    change_manifest(copy, lambda m: m["sha256"].update({"encoder.int8_lora.onnx": "0" * 64}))
    with pytest.raises(BundleError, match="which is no file of this bundle"):
        read_manifest(copy)


@pytest.mark.parametrize("digest", [3, None, "", "0" * 63, "x" * 64])
def test_a_digest_is_one(copy: Path, digest: object) -> None:
    change_manifest(copy, lambda m: m["sha256"].update({"weights.bin": digest}))
    with pytest.raises(BundleError, match=r"sha256 of weights\.bin"):
        read_manifest(copy)


@pytest.mark.parametrize(
    "shard",
    ["../private.safetensors", "/dev/zero", "x/../a.safetensors", "..", 3, None, ".safetensors", "a\\b.safetensors"],
)  # fmt: skip
def test_shards_of_a_checkpoint_are_files_of_its_folder(checkpoint: Path, tmp_path: Path, shard: object) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "sharded"))
    (folder / "model.safetensors").rename(tmp_path / "private.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"shared.weight": shard}}))
    with pytest.raises(CheckpointError, match="no name of a safetensors file in the same folder"):
        export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("location", ["../weights.bin", "/dev/zero", "tokenizer.json", "./weights.bin", ""])
def test_weights_lie_in_weights_bin_alone(copy: Path, location: str) -> None:
    def elsewhere(model: onnx.ModelProto) -> None:
        entries = next(t.external_data for t in model.graph.initializer if t.external_data)
        next(e for e in entries if e.key == "location").value = location

    change_graph(copy, elsewhere, PLAIN)
    with pytest.raises(BundleError, match=r"and not in weights\.bin"):
        load(copy, threads=1)


# the manifest is compared with what it describes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vocab_size", 10**8), ("vocab_size", 129), ("vocab_size", 127), ("layers", 10**8),
        ("layers", 3), ("layers", 1), ("heads", 10**8), ("heads", 4), ("head_size", 10**8),
        ("head_size", 16), ("eos_token_id", 128), ("pad_token_id", 10**8), ("start_token_id", 128),
        ("end_token_ids", [1, 128]), ("forced_bos_token_id", 128), ("forced_eos_token_id", 10**8),
        ("longest_input", 10**60),
    ],
)  # fmt: skip
def test_numbers_of_the_model_that_are_not_its_graphs(copy: Path, field: str, value: object) -> None:
    change_manifest(copy, lambda m: m["model"].update({field: value}))
    with pytest.raises(BundleError, match=r"differ|missing or wrong"):
        load_graphs(copy, Variant())


@pytest.mark.parametrize("value", [0, 4096, 8192, 1, 10**8, 1 << 60])
def test_a_slots_offset_is_that_of_its_weight(
    copy: Path, module_folders: list[Path], tmp_path: Path, value: int
) -> None:
    """Baking would write into another tensor."""
    before = (copy / "weights.bin").read_bytes()
    slots = json.loads((copy / MANIFEST).read_text())["slots"]
    assert value not in [slot["weight_offset"] for slot in slots[:1]]
    change_manifest(copy, lambda m: m["slots"][0].update(weight_offset=value))
    with pytest.raises(BundleError, match=r"differ|missing or wrong"):
        load(copy, threads=1)
    with pytest.raises(BundleError, match=r"differ|missing or wrong"):
        bake(copy, load_adapter(module_folders[0]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (copy / "weights.bin").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["slots"][0].update(d_in=10**8),
        lambda m: m["slots"][0].update(d_out=32),
        lambda m: m["slots"].append(m["slots"][0]),
        lambda m: m["slots"].append(m["slots"][0] | {"name": "decoder.final"}),
        lambda m: m["slots"].pop(),
        lambda m: m.update(slots=[]),
        lambda m: m.update(slots=m["slots"] * 1000),
    ],
)
def test_slots_that_are_not_the_graphs(copy: Path, change: Change) -> None:
    change_manifest(copy, change)
    with pytest.raises(BundleError, match=r"differ|two slots|do not take"):
        load_graphs(copy, Variant())


def test_weights_of_another_size(copy: Path) -> None:
    weights = copy / "weights.bin"
    data = weights.read_bytes()
    for other, words in (
        (data + bytes(4096), "but its graphs describe"),
        (data[:-1], "ends behind"),
        (b"", "ends behind"),
    ):
        weights.write_bytes(other)
        sign(copy)
        with pytest.raises(BundleError, match=words):
            load(copy, threads=1)


def test_a_token_beyond_the_vocabulary(copy: Path) -> None:
    tokenizer = json.loads((copy / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["w3"] = 500
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    sign(copy)
    model = load(copy, threads=1)
    assert model.tokens.encode(["w4"], 10)
    with pytest.raises(BundleError, match="text 1 has a token of id 500, but the model's vocabulary has 128"):
        model.tokens.encode(["w3"], 10)


# a bundle is a program


def add_node(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    model.graph.node.insert(0, node)


def _body() -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])], "body",
        [helper.make_tensor_value_info(n, t, ()) for n, t in (("i", TensorProto.INT64), ("c", TensorProto.BOOL))],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, ())],
    )  # fmt: skip


def _large(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1000, np.float32), "large"))


def _huge_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([10**9, 10**9]), "shape"))
    add_node(model, helper.make_node("Expand", ["input_ids", "shape"], ["huge"]))


def _function(model: onnx.ModelProto) -> None:
    opsets = [helper.make_opsetid("", 23)]
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("", "Add", ["x"], ["y"], [node], opsets))


def _two_graphs(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString() + model.SerializeToString()


PROGRAMS: dict[str, Callable[[onnx.ModelProto], object]] = {
    "a loop": lambda m: add_node(m, helper.make_node("Loop", ["", ""], ["loop"], body=_body())),
    "an if": lambda m: add_node(m, helper.make_node("If", ["x"], ["y"], then_branch=_body(), else_branch=_body())),
    "a graph in an attribute": lambda m: m.graph.node[0].attribute.append(helper.make_attribute("body", _body())),
    "a tensor in an attribute": lambda m: m.graph.node[0].attribute.append(
        helper.make_attribute("value", numpy_helper.from_array(np.zeros(3, np.float32)))
    ),
    "another operator": lambda m: add_node(m, helper.make_node("Constant", [], ["c"], value_float=1.0)),
    "an operator of int8 bundles whose rows had one scale": lambda m: add_node(
        m, helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
    ),
    "an operator of another domain": lambda m: add_node(m, helper.make_node("Run", [], ["c"], domain="my.library")),
    "an operator in the wrong domain": lambda m: add_node(
        m, helper.make_node("Gather", ["a"], ["c"], domain="com.microsoft")
    ),
    "a large constant": _large,
    "a huge shape": _huge_shape,
    "a function": _function,
    "a sparse constant": lambda m: m.graph.sparse_initializer.append(onnx.SparseTensorProto()),
    "metadata": lambda m: m.metadata_props.add(key="a", value="b"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_graphs_with_anything_else_in_them_are_refused(copy: Path, program: str) -> None:
    change_graph(copy, PROGRAMS[program], (PLAIN[1],))
    with pytest.raises(BundleError, match="cannot be loaded"):
        load(copy, threads=1)


def test_a_model_of_two_graphs_is_refused(copy: Path) -> None:
    """Protocol buffers join them."""
    path = copy / PLAIN[0]
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(BundleError, match="2 graphs"):
        read_graph(path, 1 << 40)


def test_weights_that_overlap_are_refused(copy: Path) -> None:
    def overlap(model: onnx.ModelProto) -> None:
        weights = [t for t in model.graph.initializer if t.external_data and t.name.endswith("q.weight")]
        entries = [{e.key: e for e in weight.external_data} for weight in weights[:2]]
        entries[1]["offset"].value = entries[0]["offset"].value

    change_graph(copy, overlap, (PLAIN[1],))
    with pytest.raises(BundleError, match=r"overlap|differ"):
        load(copy, threads=1)


def test_the_operators_are_those_that_the_exporter_writes(tmp_path: Path) -> None:
    found: set[tuple[str, str]] = set()

    def exported(checkpoint: Path, **settings: Any) -> None:
        out = tmp_path / "out"
        export(checkpoint, out, force=True, **settings)
        load_graphs(out)
        for file in out.glob("*.onnx"):
            nodes = onnx.load(str(file), load_external_data=False).graph.node
            found.update((node.domain, node.op_type) for node in nodes)

    for family in ("tiny", "tiny-t5", "tiny-mt5"):
        checkpoint = write_checkpoint(tmp_path / family, family)
        for precision in ("fp32", "int8"):
            for slots in (("q", "v"), ("q", "k", "v", "o", "wo")):
                exported(checkpoint, precision=precision, slots=slots)
    settings = json.loads((checkpoint / "config.json").read_text())
    for activation in ACTIVATIONS:
        (checkpoint / "config.json").write_text(json.dumps(settings | {"dense_act_fn": activation}))
        exported(checkpoint)
    for family, config in decoders.TINY.items():
        decoders.skip_if_too_old(family)
        decoder = decoders.write_checkpoint(tmp_path / family, config)
        decoders.complete(decoder)
        for precision in ("fp32", "int8"):
            exported(decoder, precision=precision)
    assert found == {(d.decode(), name.decode()) for d, names in OPERATORS.items() for name in names}


def test_loading_does_not_import_onnx(bundle: Path) -> None:
    code = "import sys, edge_lorahub; edge_lorahub.load(sys.argv[1], threads=1); print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(bundle)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
