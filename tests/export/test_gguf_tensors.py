"""Tensors of GGUF files: every type as the package gguf dequantizes it, Hugging Face's names, and what is put back."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_files import Array, gguf, model_tensors, write_gguf

from edge_lorahub.errors import CheckpointError
from edge_lorahub.export.gguf import open_gguf
from edge_lorahub.export.gguf.gguf_checkpoint import GgufCheckpoint
from edge_lorahub.export.gguf.header import read_header
from edge_lorahub.export.gguf.known_architectures import Layout

TYPES = gguf.GGMLQuantizationType
KINDS = [*sorted(gguf.quants._type_traits, key=lambda kind: kind.value), TYPES.F32, TYPES.F16]
NEEDED = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}


def write_tensors(path: Path, tensors: dict[str, tuple[Array, Any]]) -> Path:
    """A file of nothing but tensors, each (bytes of its rows, type)."""
    writer = gguf.GGUFWriter(path, "llama")
    for name, (rows, kind) in tensors.items():
        writer.add_tensor(name, rows, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def opened(path: Path) -> GgufCheckpoint:
    places = read_header(path).tensors
    return GgufCheckpoint(path, places, {name: Layout(name) for name in places})


def random_blocks(kind: Any, rows: int, columns: int) -> Array:
    """Rows of random bytes of a type, whose scales are finite: bytes of a float16 below 0x7c00 are."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = np.random.default_rng(kind.value).integers(0, 64, (rows, columns // block * size))
    return data.astype(np.uint8)


def test_all_needed_types_are_there() -> None:
    assert {kind.name for kind in KINDS} >= NEEDED


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_type_is_as_the_package_dequantizes_it(kind: Any, tmp_path: Path) -> None:
    rows = random_blocks(kind, 5, 512)
    expected = gguf.dequantize(rows, kind)
    with opened(write_tensors(tmp_path / "t.gguf", {"t": (rows, kind)})) as checkpoint:
        array = checkpoint.read("t", (5, 512))
    assert array.dtype == np.float32
    assert np.any(array != 0)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("name", ["Q8_K", "Q8_1", "I32", "F64"])
def test_other_types_are_refused_by_name(name: str, tmp_path: Path) -> None:
    kind = TYPES[name]
    path = write_tensors(tmp_path / "t.gguf", {"t": (random_blocks(kind, 2, 256), kind)})
    with opened(path) as checkpoint, pytest.raises(CheckpointError, match=rf"tensor t is of type {name}"):
        checkpoint.read("t", (2, 256))


def test_a_large_tensor_is_read_in_pieces(tmp_path: Path) -> None:
    kind = TYPES.Q8_0
    rows = random_blocks(kind, 1000, 4096)
    with opened(write_tensors(tmp_path / "t.gguf", {"t": (rows, kind)})) as checkpoint:
        tracemalloc.start()
        array = checkpoint.read("t", (1000, 4096))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    np.testing.assert_array_equal(array, gguf.dequantize(rows, kind))
    assert peak < array.nbytes + 40e6


def test_equal(tmp_path: Path) -> None:
    kind = TYPES.Q8_0
    rows = random_blocks(kind, 600, 4096)
    other = rows.copy()
    other[-1, -1] ^= 1
    tensors = {"a": (rows, kind), "b": (rows.copy(), kind), "c": (other, kind), "d": (rows[:5].copy(), kind)}
    with opened(write_tensors(tmp_path / "t.gguf", tensors)) as checkpoint:
        assert checkpoint.equal("a", "b")
        assert checkpoint.unused() == ["c", "d"]
        assert not checkpoint.equal("a", "c")
        assert not checkpoint.equal("a", "d")
        assert checkpoint.names == ["a", "b", "c", "d"]
        assert "a" in checkpoint
        assert "e" not in checkpoint


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    kind = TYPES.Q4_0
    rows = random_blocks(kind, 4, 64)
    rows[2, :2] = [0, 0x7C]  # a scale of infinity
    array = np.full((4, 64), np.nan, np.float32)
    path = write_tensors(tmp_path / "t.gguf", {"t": (rows, kind), "u": (array, TYPES.F32)})
    with opened(path) as checkpoint:
        for name in ("t", "u"):
            with pytest.raises(CheckpointError, match="not finite"):
                checkpoint.read(name, (4, 64))


def test_other_shapes_and_names_are_refused(tmp_path: Path) -> None:
    with open_gguf(write_gguf(tmp_path / "m.gguf")).checkpoint as checkpoint:
        with pytest.raises(CheckpointError, match=r"model\.norm\.weight has shape \(32,\), but .* asks for \(33,\)"):
            checkpoint.read("model.norm.weight", (33,))
        with pytest.raises(CheckpointError, match=r"lm_head\.weight is missing"):
            checkpoint.read("lm_head.weight", (400, 32))


def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    with open_gguf(path).checkpoint as checkpoint:
        last = checkpoint.names[-1]
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(CheckpointError, match="is cut off"):
            checkpoint.read(last, checkpoint.shape(last))


def reordered(array: Array, heads: int) -> Array:
    """As llama.cpp's converter stores q and k: a head's first and second half become neighbors."""
    halves = array.reshape(heads, 2, -1, *array.shape[1:])
    return np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(array.shape)


@pytest.mark.parametrize("architecture", ["llama", "granite"])
def test_the_rows_of_q_and_k_are_put_back(architecture: str, tmp_path: Path) -> None:
    plain = model_tensors(architecture)
    heads = {"attn_q.weight": 4, "attn_k.weight": 2}
    stored = {n: reordered(a, heads[n[6:]]) if n[6:] in heads else a for n, a in plain.items()}
    path = write_gguf(tmp_path / "m.gguf", tensors=stored, architecture=architecture)
    with open_gguf(path).checkpoint as checkpoint:
        for part, name in (("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj")):
            expected = plain[f"blk.1.attn_{part}.weight"]
            np.testing.assert_array_equal(
                checkpoint.read(f"model.layers.1.self_attn.{name}.weight", expected.shape), expected
            )


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "gemma", "gemma2", "gemma3"])
def test_the_rows_of_others_stay(architecture: str, tmp_path: Path) -> None:
    plain = model_tensors(architecture)
    with open_gguf(write_gguf(tmp_path / "m.gguf", architecture=architecture)).checkpoint as checkpoint:
        np.testing.assert_array_equal(
            checkpoint.read("model.layers.0.self_attn.q_proj.weight", (32, 32)), plain["blk.0.attn_q.weight"]
        )
        assert len(checkpoint.names) == len(plain)


@pytest.mark.parametrize("architecture", ["gemma", "gemma2", "gemma3"])
def test_one_is_taken_from_gemmas_norms(architecture: str, tmp_path: Path) -> None:
    plain = model_tensors(architecture)
    with open_gguf(write_gguf(tmp_path / "m.gguf", architecture=architecture)).checkpoint as checkpoint:
        norms = [name for name in checkpoint.names if name.endswith("norm.weight")]
        assert len(norms) == sum(name.endswith("norm.weight") for name in plain)
        for name in norms:
            array = checkpoint.read(name, checkpoint.shape(name))
            assert abs(float(array.mean())) < 0.2, name
        np.testing.assert_array_equal(checkpoint.read("model.norm.weight", (32,)), plain["output_norm.weight"] - 1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"blk.0.attn_sinks.weight": (4,)}, r"tensor blk\.0\.attn_sinks\.weight is none of a llama"),
        ({"blk.2.attn_q.weight": (32, 32)}, r"blk\.2\.attn_q\.weight is none of a llama of 2 layers"),
        ({"blk.0.ffn_gate_exps.weight": (2, 64, 32)}, r"ffn_gate_exps"),
        ({"blk.1.ffn_up.weight": None}, r"1 tensors are missing \(blk\.1\.ffn_up\.weight"),
        ({"output_norm.weight": None}, r"output_norm\.weight"),
        ({"token_embd.weight": None}, r"no token_embd\.weight"),
        ({"blk.0.attn_q.bias": (32,)}, r"llama with biases of attn_q is not supported"),
        ({"blk.01.attn_q.weight": (32, 32)}, r"written in two ways"),
    ],
)
def test_tensors_that_a_model_does_not_have(change: dict[str, Any], expected: str, tmp_path: Path) -> None:
    tensors: dict[str, Any] = {**model_tensors()}
    for name, shape in change.items():
        tensors[name] = None if shape is None else np.ones(shape, np.float32)
    path = write_gguf(tmp_path / "m.gguf", tensors={name: a for name, a in tensors.items() if a is not None})
    with pytest.raises(CheckpointError, match=expected):
        open_gguf(path)


def test_an_untied_head_and_biases(tmp_path: Path) -> None:
    tensors = model_tensors() | {"output.weight": np.ones((400, 32), np.float32)}
    for layer in range(2):
        for part, rows in {"attn_q": 32, "attn_k": 16, "attn_v": 16, "attn_output": 32}.items():
            tensors[f"blk.{layer}.{part}.bias"] = np.arange(rows, dtype=np.float32)
    source = open_gguf(write_gguf(tmp_path / "m.gguf", tensors=tensors))
    assert source.config["tie_word_embeddings"] is False
    assert source.config["attention_bias"] is True
    with source.checkpoint as checkpoint:
        assert "lm_head.weight" in checkpoint
        bias = checkpoint.read("model.layers.0.self_attn.k_proj.bias", (16,))
    assert bias[:8].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
