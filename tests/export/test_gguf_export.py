"""GGUF files exported end to end: the bundle is that of the Hugging Face folder with the same model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf_files
import numpy as np
import pytest
from click.testing import Result
from gguf_files import byte_pairs, gguf, model_tensors, write_gguf
from safetensors.numpy import save_file

from edge_lorahub import Example, generate, load
from edge_lorahub.bundle.manifest import TOKENIZER, Manifest, read_manifest
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.export import export
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.scoring import Batches, Scorer
from edge_lorahub.tokenizer.tokenizer_file import load_tokenizer

NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
EXAMPLES = [Example("The quick brown fox jumps over", " the lazy dog"), Example("1, 22, 333", " 4444")]
TEXTS = ["def f(x):", "Translate the sentence into German"]


@pytest.fixture(autouse=True)
def wide_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime's attention wants heads of 16."""
    monkeypatch.setitem(gguf_files.SIZES, "head_dim", 16)


def as_folder(folder: Path) -> Path:
    """The same random qwen2 model as Hugging Face has it, whose names and config are written down here."""
    tensors = {}
    for name, array in model_tensors("qwen2").items():
        path, kind = name.rsplit(".", 1)
        _, layer, part = path.split(".") if path.startswith("blk.") else ("", "", path)
        tensors[f"{f'model.layers.{layer}.' if layer else ''}{NAMES[part]}.{kind}"] = array
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    sizes = gguf_files.SIZES
    config = {
        "model_type": "qwen2", "vocab_size": 400, "hidden_size": sizes["hidden"], "intermediate_size": sizes["ff"],
        "num_hidden_layers": sizes["layers"], "num_attention_heads": sizes["heads"], "head_dim": 16,
        "num_key_value_heads": sizes["kv_heads"], "rms_norm_eps": 1e-5, "rope_theta": 1e4, "eos_token_id": [2, 0],
        "max_position_embeddings": 128, "tie_word_embeddings": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    byte_pairs().save(str(folder / TOKENIZER))
    return folder


def losses(bundle: Path) -> Any:
    model = load(bundle, threads=1)
    batches = Batches(model.bundle, model.bundle.encode(EXAMPLES, 99, 99))
    return Scorer(Runner(model, "score", plain_inputs(model.manifest.slots)), batches).losses().sums


def same_but_origin(one: Manifest, other: Manifest) -> bool:
    facts = [{**vars(m.model), "base_model": "", "family": ""} for m in (one, other)]
    return facts[0] == facts[1] and one.slots == other.slots and one.graphs == other.graphs


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_same_model_as_a_folder(precision: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "Tiny-Model.F32.gguf", architecture="qwen2")
    manifest = export(path, tmp_path / "file", precision=precision)
    other = export(as_folder(tmp_path / "hf"), tmp_path / "folder", precision=precision)
    assert manifest.model.base_model == "Tiny-Model"
    assert manifest.model.end_token_ids == (2, 0)
    assert manifest.model.eos_token_id == 2
    assert same_but_origin(manifest, other)
    for name in ("weights.bin", *manifest.graph_files):
        assert manifest.sha256[name] == other.sha256[name], name
    assert np.array_equal(losses(tmp_path / "file"), losses(tmp_path / "folder"))
    answers = generate(load(tmp_path / "file", threads=1), TEXTS, max_new_tokens=12)
    assert answers == generate(load(tmp_path / "folder", threads=1), TEXTS, max_new_tokens=12)
    mine, theirs = (load_tokenizer(tmp_path / name / TOKENIZER, RuntimeError) for name in ("file", "folder"))
    for text in (*gguf_files.CORPUS, *TEXTS):
        assert mine.encode(text).ids == theirs.encode(text).ids


@pytest.mark.parametrize(
    "name", ["m.Q4_K_M.gguf", "m-q8_0.gguf", "m_f16.gguf", "m.BF16.gguf", "m-IQ4_XS.GGUF", "m.gguf"]
)
def test_a_files_name_without_its_type(name: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / name)
    assert export(path, tmp_path / "out").model.base_model == "m"


def test_a_start_token_that_the_file_asks_for(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"tokenizer.ggml.add_bos_token": True})
    export(path, tmp_path / "out")
    opened = load(tmp_path / "out", threads=1).bundle
    assert opened.sources(["day"], 99)[0][0] == 1
    assert opened.sources(["<|im_start|>day"], 99)[0].tolist().count(1) == 1
    assert opened.encode([Example("day", "night")], 99, 99).labels[0][-1] == 2


def test_quantized_tensors(tmp_path: Path) -> None:
    kind = gguf.GGMLQuantizationType.Q8_0
    path = write_gguf(tmp_path / "m.gguf", quantization=lambda name, array: kind if array.ndim == 2 else None)
    whole = write_gguf(tmp_path / "whole.gguf")
    export(path, tmp_path / "out")
    export(whole, tmp_path / "float")
    np.testing.assert_allclose(losses(tmp_path / "out"), losses(tmp_path / "float"), rtol=0.01)


def test_what_is_no_model(tmp_path: Path, fails: Callable[..., str]) -> None:
    (tmp_path / "cut.gguf").write_bytes(write_gguf(tmp_path / "m.gguf").read_bytes()[:5000])
    (tmp_path / "empty.gguf").write_bytes(b"")
    for name in ("cut.gguf", "empty.gguf"):
        assert fails("export", tmp_path / name, tmp_path / "out").startswith(f"Error: {tmp_path / name}: ")
    assert "no such folder" in fails("export", tmp_path / "missing.gguf", tmp_path / "out")
    assert "heads of 8 numbers" in fails("export", write_narrow(tmp_path / "narrow.gguf"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_narrow(path: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(gguf_files.SIZES, "head_dim", 8)
        return write_gguf(path)


def test_the_check_in_int8(tmp_path: Path, run: Callable[..., Result]) -> None:
    path = write_gguf(tmp_path / "m.gguf", architecture="qwen2")
    result = run("export", path, tmp_path / "out", "--precision", "int8")
    assert result.exit_code == 0, result.output
    assert "int8 against fp32 (random modules or texts): the losses of 25 candidates" in result.output
    assert read_manifest(tmp_path / "out").precision == "int8"
