"""The exporter: what a bundle holds, from every form of checkpoint."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file
from scores import forced
from tokenizers import Tokenizer

from edge_lorahub import load
from edge_lorahub.bundle.encoder_decoder import graphs
from edge_lorahub.bundle.manifest import MANIFEST, TOKENIZER, WEIGHTS, read_manifest
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.export import export
from edge_lorahub.files.outputs import sha256
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.testing import random_models


def logits(bundle: Path) -> np.ndarray:
    model = load(bundle, threads=1)
    runner = Runner(model, "score", plain_inputs(model.manifest.slots))
    return forced(runner, np.array([[5, 6, 7, 1]]), np.ones((1, 4), np.int64), np.array([[8, 9, 1]]))


def test_a_bundle_is_what_its_manifest_says(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert manifest.graphs == graphs("fp32")
    marks = ("", ".plain", ".absorbed")
    files = {*(f"{part}{mark}.onnx" for part in ("encoder", "decoder") for mark in marks), WEIGHTS, TOKENIZER}
    assert {p.name for p in bundle.iterdir()} == {*files, MANIFEST}
    assert manifest.sha256 == {name: sha256(bundle / name) for name in files}
    assert manifest.kinds() == ["q", "v"]
    assert len(manifest.slots) == 2 * 2 + 2 * 4  # q and v of 2 encoder layers, and of 2 decoder layers twice


@pytest.mark.parametrize("size", ["tiny", "tiny-t5", "tiny-mt5"])
def test_slots_name_the_checkpoints_weights(size: str, tmp_path: Path) -> None:
    """Every slot's offset in weights.bin is where the checkpoint's weight lies, transposed."""
    checkpoint = random_models.write_checkpoint(tmp_path / size, size)
    kinds = sorted({name.rpartition(".")[2] for name, _, _ in random_models.linear_layers(size)})
    manifest = export(checkpoint, tmp_path / "out", slots=kinds)
    tensors = load_file(checkpoint / "model.safetensors")
    expected = {(name, d_in, d_out) for name, d_in, d_out in random_models.linear_layers(size)}
    assert {(s.name, s.d_in, s.d_out) for s in manifest.slots} == expected
    for slot in manifest.slots:
        weight = np.memmap(
            tmp_path / "out" / WEIGHTS, np.float32, "r", slot.weight_offset, shape=(slot.d_in, slot.d_out)
        )
        np.testing.assert_array_equal(weight, tensors[f"{slot.name}.weight"].T)


def test_onnx_reads_the_graphs(bundle: Path) -> None:
    """Another tool: onnx loads both with their external data, and finds the embedding in one place."""
    places = []
    for name in ("encoder.onnx", "decoder.onnx"):
        proto = onnx.load(bundle / name, load_external_data=False)
        (embedding,) = [t for t in proto.graph.initializer if t.name == "shared.weight"]
        places.append({e.key: e.value for e in embedding.external_data})
        whole = onnx.load(bundle / name)
        assert all(t.HasField("raw_data") for t in whole.graph.initializer)
    assert places[0] == places[1]


def test_a_bundle_is_hardly_larger_than_the_checkpoint(tmp_path: Path) -> None:
    """Tied and untied, at flan-t5-small's and t5-small's sizes without the tokenizer."""
    for size in ("t5-small", "flan-t5-small"):
        checkpoint = random_models.write_checkpoint(tmp_path / size, size)
        export(checkpoint, tmp_path / "out", force=True)
        assert (tmp_path / "out" / WEIGHTS).stat().st_size <= 1.05 * (checkpoint / "model.safetensors").stat().st_size


def test_a_sharded_checkpoint_gives_the_same_bundle(
    checkpoint: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_models, "_SHARD_BYTES", 30_000)
    sharded = random_models.write_checkpoint(tmp_path / "sharded", "tiny")
    assert len(list(sharded.glob("model-*-of-*.safetensors"))) > 3
    export(sharded, tmp_path / "out")
    assert read_manifest(tmp_path / "out").sha256 == read_manifest(bundle).sha256
    next(sharded.glob("model-00002*")).unlink()
    with pytest.raises(Exception, match=r"model-00002.*no such file"):
        export(sharded, tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_checkpoints(checkpoint: Path, tmp_path: Path, dtype: type) -> None:
    """The same bundle as from the float32 checkpoint of the rounded numbers."""
    tensors = {name: array.astype(dtype) for name, array in load_file(checkpoint / "model.safetensors").items()}
    digests = []
    for name, values in (("half", tensors), ("full", {n: a.astype(np.float32) for n, a in tensors.items()})):
        folder = tmp_path / name
        shutil.copytree(checkpoint, folder)
        save_file(values, folder / "model.safetensors")
        digests.append(export(folder, tmp_path / f"{name}-out").sha256[WEIGHTS])
    assert digests[0] == digests[1]


def test_truncation_and_padding_of_the_tokenizer_do_not_survive(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "baked-in")
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=12)
    tokenizer.save(str(tmp_path / "baked-in" / "tokenizer.json"))
    export(tmp_path / "baked-in", tmp_path / "out")
    model = load(tmp_path / "out", threads=1)
    assert [len(ids) for ids in model.tokens.encode(["w3 " * 30, "w3"], 2048)] == [31, 2]


def test_extra_copies_of_a_tied_embedding_are_left_out(tmp_path: Path) -> None:
    """Checkpoints saved by old versions hold the embedding up to four times."""
    checkpoint = random_models.write_checkpoint(tmp_path / "t5", "tiny-t5")
    export(checkpoint, tmp_path / "once")
    tensors = load_file(checkpoint / "model.safetensors")
    for name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = tensors["shared.weight"].copy()
    save_file(tensors, checkpoint / "model.safetensors")
    export(checkpoint, tmp_path / "four-times")
    assert read_manifest(tmp_path / "once").sha256 == read_manifest(tmp_path / "four-times").sha256


def test_tensors_without_a_place_are_named(checkpoint: Path, tmp_path: Path) -> None:
    """More layers than config.json says; not the bias that the published T5 have and nobody uses."""
    shutil.copytree(checkpoint, tmp_path / "more")
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = np.ones((32, 3), np.float32)
    save_file(tensors, tmp_path / "more" / "model.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error", EdgeLorahubWarning)
        export(tmp_path / "more", tmp_path / "first")
    tensors["encoder.block.2.layer.0.SelfAttention.q.weight"] = np.ones((24, 32), np.float32)
    save_file(tensors, tmp_path / "more" / "model.safetensors")
    with pytest.warns(EdgeLorahubWarning, match=r"1 of its tensors are no part .* not used: encoder\.block\.2"):
        export(tmp_path / "more", tmp_path / "second")
    assert read_manifest(tmp_path / "first").sha256 == read_manifest(tmp_path / "second").sha256


def test_the_scale_of_the_head_can_be_said_apart(tmp_path: Path) -> None:
    """transformers 5 writes scale_decoder_outputs beside tie_word_embeddings."""
    checkpoint = random_models.write_checkpoint(tmp_path / "t5", "tiny-t5")
    export(checkpoint, tmp_path / "scaled")
    fields = json.loads((checkpoint / "config.json").read_text()) | {"scale_decoder_outputs": False}
    (checkpoint / "config.json").write_text(json.dumps(fields))
    export(checkpoint, tmp_path / "unscaled")
    np.testing.assert_allclose(logits(tmp_path / "scaled"), logits(tmp_path / "unscaled") * 32**-0.5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "bert"}, "model_type 'bert' is not supported"),
        ({"model_type": None}, "model_type is missing; edge-lorahub exports"),
        ({"feed_forward_proj": "gated-laplace"}, "the activation 'laplace' of feed_forward_proj is not supported"),
        ({"feed_forward_proj": "gated-gelu-new"}, "feed_forward_proj 'gated-gelu-new' is not supported, only"),
        ({"feed_forward_proj": 3}, "feed_forward_proj 3 is not supported, only"),
        ({"dense_act_fn": "prelu"}, "the activation 'prelu' of dense_act_fn is not supported, only relu, gelu"),
        ({"dense_act_fn": ["relu"]}, "the activation .'relu'. of dense_act_fn is not supported"),
        ({"is_gated_act": "yes"}, "is_gated_act must be true or false, got 'yes'"),
        ({"is_gated_act": False}, r"tensor encoder.block.0.layer.1.DenseReluDense.wi.weight is missing"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings must be true or false, got 1"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantized by bitsandbytes .quantization_config"),
        (
            {"model_type": "mixtral", "num_local_experts": 8},
            "model_type 'mixtral' is not supported: a mixture of experts .num_local_experts",
        ),
        ({"relative_attention_num_buckets": 3}, "relative_attention_num_buckets must be a whole number of at least 4"),
        (
            {"relative_attention_max_distance": 0},
            "relative_attention_max_distance must be a whole number of at least 1",
        ),
        ({"relative_attention_max_distance": 10**400}, "must be a whole number of at most 2147483647, got 10000"),
        ({"d_model": "512"}, "d_model must be a whole number of at least 1, got '512'"),
        ({"d_kv": 12}, "d_kv is 12; onnxruntime's attention wants a multiple of 8"),
        ({"d_model": 31}, r"tensor .* has shape .*, but config.json asks for"),
        ({"num_layers": 3}, r"tensor encoder.block.2.* is missing"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    checkpoint: Path, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    shutil.copytree(checkpoint, tmp_path / "changed")
    fields = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "changed" / "config.json").write_text(json.dumps(fields | change))
    with pytest.raises(CheckpointError, match=words):
        export(tmp_path / "changed", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["changed"]


def test_memory_is_that_of_the_largest_tensor(tmp_path: Path) -> None:
    """Streaming, without the kernel's count of mapped pages: what Python and NumPy allocate stays small."""
    checkpoint = random_models.write_checkpoint(tmp_path / "flan-t5-small", "flan-t5-small")
    script = (
        "import sys, tracemalloc; from edge_lorahub.export import export; tracemalloc.start();"
        "export(sys.argv[1], sys.argv[2]); print(tracemalloc.get_traced_memory()[1])"
    )
    command = [sys.executable, "-c", script, str(checkpoint), str(tmp_path / "out")]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    largest = 32128 * 512 * 4
    assert peak < 2 * largest < (checkpoint / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tie_encoder_decoder": True}, "tie_encoder_decoder True is not supported"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads .* is not supported"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder False is not supported"),
    ],
)
def test_fields_that_ask_for_another_model_are_refused(fields: dict[str, object], words: str, tmp_path: Path) -> None:
    checkpoint = random_models.write_checkpoint(tmp_path / "checkpoint", "tiny")
    config = checkpoint / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))
    with pytest.raises(CheckpointError, match=words):
        export(checkpoint, tmp_path / "bundle")


def test_fields_that_are_not_known_are_named(tmp_path: Path) -> None:
    checkpoint = random_models.write_checkpoint(tmp_path / "checkpoint", "tiny")
    config = checkpoint / "config.json"
    others = {"auto_map": {"AutoConfig": "own.Config"}, "attention_temperature": 2.0, "n_positions": 512, "new": None}
    config.write_text(json.dumps(json.loads(config.read_text()) | others))
    with pytest.warns(
        EdgeLorahubWarning, match=r"auto_map .*, attention_temperature .2\.0.: not known to edge-lorahub"
    ):
        export(checkpoint, tmp_path / "bundle")
