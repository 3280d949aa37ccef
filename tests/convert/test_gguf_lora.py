"""`convert --to gguf-lora`, read back with the package gguf; `tests/oracle` has llama.cpp itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from decoders import KINDS, TINY, complete, export_decoder, write_checkpoint, write_decoder_module
from safetensors.numpy import load_file, save_file

from edge_lorahub import load_adapter

gguf = pytest.importorskip("gguf")

Run = Callable[..., Result]
Fails = Callable[..., str]
_NAMES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    reader = gguf.GGUFReader(path)
    fields = {key: field.contents() for key, field in reader.fields.items() if "." in key}
    return fields, {str(tensor.name): np.array(tensor.data) for tensor in reader.tensors}


def deltas(fields: dict[str, Any], tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """alpha / r B A by GGUF's name of the weight, r a layer's own rank, as llama.cpp multiplies."""
    found = {}
    for name in {name.rpartition(".")[0] for name in tensors}:
        a, b = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
        assert a.shape[0] == b.shape[1]
        found[name] = fields["adapter.lora.alpha"] / len(a) * b.astype(np.float64) @ a.astype(np.float64)
    return found


def on_neighbors(rows: np.ndarray, heads: int) -> np.ndarray:
    """LlamaModel.permute of llama.cpp's convert_hf_to_gguf.py."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "granite"])
def test_every_family(family: str, run: Run, tmp_path: Path) -> None:
    config = TINY[family]
    base = write_checkpoint(tmp_path / "base", config)
    complete(base)
    # ranks differ by layer, and so does the scale
    module = write_decoder_module(tmp_path / "module", config, rank=3, lora_alpha=7)
    truth = {layer: lora.scale * lora.b @ lora.a for layer, lora in load_adapter(module).loras()}
    result = run("convert", module, "--to", "gguf-lora", "--base", base, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    fields, tensors = read(tmp_path / "out" / "adapter.gguf")
    assert fields["general.type"] == "adapter"
    assert fields["adapter.type"] == "lora"
    assert fields["general.architecture"] == {"mistral": "llama", "gemma3": "gemma3"}.get(family, config["model_type"])
    found = deltas(fields, tensors)
    assert len(found) == len(truth) == 3 * len(KINDS)
    for layer, change in truth.items():
        number, kind = layer.split(".")[2], layer.rpartition(".")[2]
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(kind)
        if heads and family in ("llama", "mistral", "granite"):
            change = on_neighbors(change, heads)
        np.testing.assert_allclose(found[f"blk.{number}.{_NAMES[kind]}.weight"], change, rtol=0, atol=1e-5)


def test_ranks_that_differ(run: Run, tmp_path: Path) -> None:
    """alpha is one number for the whole file."""
    base = write_checkpoint(tmp_path / "base", TINY["qwen2"])
    complete(base)
    module = write_decoder_module(tmp_path / "module", TINY["qwen2"], rank=4)
    tensors = load_file(module / "adapter_model.safetensors")
    for name in [name for name in tensors if ".down_proj." in name]:
        tensors[name] = np.ascontiguousarray(tensors[name][:2] if "lora_A" in name else tensors[name][:, :2])
    save_file(tensors, module / "adapter_model.safetensors")
    settings = json.loads((module / "adapter_config.json").read_text())
    (module / "adapter_config.json").write_text(json.dumps(settings | {"rank_pattern": {"down_proj": 2}}))
    run("convert", module, "--to", "gguf-lora", "--base", base, "--out", tmp_path / "out")
    found = deltas(*read(tmp_path / "out" / "adapter.gguf"))
    for layer, lora in load_adapter(module).loras():
        number, kind = layer.split(".")[2], layer.rpartition(".")[2]
        change = lora.scale * lora.b @ lora.a
        np.testing.assert_allclose(found[f"blk.{number}.{_NAMES[kind]}.weight"], change, rtol=0, atol=1e-5)


def test_a_bundle_names_the_model_as_well(run: Run, fails: Fails, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base", TINY["llama"])
    module = write_decoder_module(tmp_path / "module", TINY["llama"])
    bundle = export_decoder(base, tmp_path / "bundle").out
    for number, options in enumerate((("--base", base), ("--bundle", bundle))):
        result = run("convert", module, "--to", "gguf-lora", *options, "--out", tmp_path / str(number))
        assert result.exit_code == 0, result.output
    one, two = (read(tmp_path / which / "adapter.gguf")[1] for which in "01")
    assert all(np.array_equal(one[name], two[name]) for name in one | two)
    other = write_checkpoint(tmp_path / "other", TINY["llama-biases"])  # another number of key and value heads
    complete(other)
    arguments = ("--to", "gguf-lora", "--base", other, "--out", tmp_path / "out")
    assert "for another model" in fails("convert", module, *arguments)


def test_an_encoder_decoder_is_refused(
    fails: Fails, bundle: Path, checkpoint: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    for options in (("--bundle", bundle), ("--base", checkpoint)):
        arguments = ("--to", "gguf-lora", *options, "--out", tmp_path / "out")
        assert "decoder-only" in fails("convert", module_folders[0], *arguments)


def test_a_lower_rank(run: Run, tmp_path: Path) -> None:
    base = write_checkpoint(tmp_path / "base", TINY["llama"])
    complete(base)
    module = write_decoder_module(tmp_path / "module", TINY["llama"], rank=3)
    result = run("convert", module, "--to", "gguf-lora", "--base", base, "--rank", 2, "--out", tmp_path / "out")
    assert "truncated to rank 2" in result.stdout
    fields, tensors = read(tmp_path / "out" / "adapter.gguf")
    assert fields["adapter.lora.alpha"] == 2
    assert {len(array) for name, array in tensors.items() if name.endswith("lora_a")} == {2}
