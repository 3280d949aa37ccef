"""`convert --to checkpoint` and what is like it: W + B A in the checkpoint's shards and dtypes, and nothing else."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from click.testing import Result
from decoders import TINY, complete, write_checkpoint, write_decoder_module
from safetensors.numpy import load_file, save_file

from edge_lorahub import load_adapter
from edge_lorahub.bundle.manifest import TOKENIZER, WEIGHTS, read_manifest
from edge_lorahub.convert.converted_folder import RECORD
from edge_lorahub.export import export
from edge_lorahub.export.optimum_model import _warn_of_heads
from edge_lorahub.testing.random_models import write_module

Run = Callable[..., Result]
Fails = Callable[..., str]


def tensors_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found


def in_dtype(checkpoint: Path, dtype: Any, shards: int = 1) -> None:
    """Rewrites a checkpoint in a dtype, in shards with an index."""
    tensors = {name: array.astype(dtype) for name, array in tensors_of(checkpoint).items()}
    if shards == 1:
        save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt", "mine": "ü"})
        return
    (checkpoint / "model.safetensors").unlink()
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    index = {}
    for number, file in enumerate(names):
        part = {name: array for i, (name, array) in enumerate(tensors.items()) if i % shards == number}
        save_file(part, checkpoint / file)
        index |= dict.fromkeys(part, file)
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


@pytest.fixture
def base(checkpoint: Path, tmp_path: Path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "base")


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_every_tensor(
    dtype: Any, shards: int, base: Path, run: Run, module_folders: list[Path], tmp_path: Path
) -> None:
    in_dtype(base, dtype, shards)
    result = run("convert", module_folders[0], "--to", "checkpoint", "--base", base, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    before, after = tensors_of(base), tensors_of(tmp_path / "out")
    assert before.keys() == after.keys()
    loras = {f"{layer}.weight": lora for layer, lora in load_adapter(module_folders[0]).loras()}
    assert len(loras) == 12
    for name, array in before.items():
        assert after[name].dtype == dtype
        if name not in loras:
            np.testing.assert_array_equal(after[name], array)
            continue
        lora = loras[name]
        exact = array.astype(np.float64) + lora.scale * (lora.b.astype(np.float64) @ lora.a.astype(np.float64))
        # half a unit in the last place, and what float32 made of the product before
        bound = np.spacing(np.abs(exact).astype(dtype)).astype(np.float64) / 2 + 1e-6 * np.abs(exact).max()
        assert (np.abs(after[name].astype(np.float64) - exact) <= bound).all()
        assert np.abs(exact - array.astype(np.float64)).max() > 100 * np.median(bound)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_in_float32_nothing_is_rounded_away(
    dtype: Any, shards: int, base: Path, run: Run, module_folders: list[Path], tmp_path: Path
) -> None:
    in_dtype(base, dtype, shards)
    config = json.loads((base / "config.json").read_text()) | {"torch_dtype": "float16"}
    (base / "config.json").write_text(json.dumps(config))
    arguments = ("--to", "checkpoint", "--base", base, "--dtype", "float32", "--out", tmp_path / "out")
    result = run("convert", module_folders[0], *arguments)
    assert result.exit_code == 0, result.output
    before, after = tensors_of(base), tensors_of(tmp_path / "out")
    loras = {f"{layer}.weight": lora for layer, lora in load_adapter(module_folders[0]).loras()}
    assert before.keys() == after.keys()
    for name, array in before.items():
        exact = array.astype(np.float64)
        if name in loras:
            exact += loras[name].scale * (loras[name].b.astype(np.float64) @ loras[name].a.astype(np.float64))
        assert after[name].dtype == np.float32
        np.testing.assert_allclose(after[name], exact, rtol=0, atol=1e-6 * np.abs(exact).max())
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == config | {"torch_dtype": "float32"}
    index = tmp_path / "out" / "model.safetensors.index.json"
    if shards > 1:
        total = sum(array.nbytes for array in after.values())
        assert json.loads(index.read_text())["metadata"] == {"total_size": total}
    # what is written can be exported and converted again
    export(tmp_path / "out", tmp_path / "bundle")


def test_what_else_is_in_the_folder(base: Path, run: Run, module_folders: list[Path], tmp_path: Path) -> None:
    in_dtype(base, np.float32)
    (base / "chat_template.jinja").write_text("{{ messages }}")
    (base / "notes.txt").write_text("mine")
    (base / "pytorch_model.bin").write_bytes(b"other weights")
    run("convert", module_folders[0], "--to", "checkpoint", "--base", base, "--out", tmp_path / "out")
    kept = {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {*kept, "model.safetensors", RECORD}
    assert all((out / name).read_bytes() == (base / name).read_bytes() for name in kept)
    # the header, metadata and all
    size = int.from_bytes((base / "model.safetensors").read_bytes()[:8], "little") + 8
    assert (out / "model.safetensors").read_bytes()[:size] == (base / "model.safetensors").read_bytes()[:size]


def test_an_export_of_it_is_an_export_with_the_adapter(
    base: Path, run: Run, module_folders: list[Path], tmp_path: Path
) -> None:
    run("convert", module_folders[0], "--to", "checkpoint", "--base", base, "--out", tmp_path / "merged")
    for precision in ("fp32", "int8"):
        export(tmp_path / "merged", tmp_path / f"one-{precision}", precision=precision)
        options = ("--precision", precision, "--no-check", "--adapter", module_folders[0])
        result = run("export", base, tmp_path / f"two-{precision}", *options)
        assert result.exit_code == 0, result.output
        one, two = (read_manifest(tmp_path / f"{which}-{precision}") for which in ("one", "two"))
        assert one.sha256 == two.sha256
        assert [baked.name for baked in two.baked] == [module_folders[0].name]
        assert two.baked[0].sha256 == load_adapter(module_folders[0]).sha256


@pytest.mark.parametrize("prefix", [True, False])
def test_a_decoder_with_and_without_its_prefix(prefix: bool, run: Run, tmp_path: Path) -> None:
    config = TINY["llama-3"]
    base = write_checkpoint(tmp_path / "base", config, prefix=prefix)
    complete(base)
    module = write_decoder_module(tmp_path / "module", config)
    result = run("convert", module, "--to", "checkpoint", "--base", base, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    before, after = tensors_of(base), tensors_of(tmp_path / "out")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {f"model.{name.removeprefix('model.')}" for name in changed} == {
        f"{layer}.weight" for layer in load_adapter(module).pairs
    }


def test_an_int8_bundle_is_quantized_anew(
    base: Path, run: Run, fails: Fails, module_folders: list[Path], tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    export(base, bundle, precision="int8")
    convert = ("convert", module_folders[0], "--to", "bundle", "--bundle", bundle, "--out", tmp_path / "out")
    assert "--base" in fails(*convert)
    result = run(*convert, "--base", base)
    assert result.exit_code == 0, result.output
    assert "int8 against fp32" in result.stdout
    run("export", base, tmp_path / "two", "--precision", "int8", "--no-check", "--adapter", module_folders[0])
    assert read_manifest(tmp_path / "out").sha256 == read_manifest(tmp_path / "two").sha256
    assert read_manifest(tmp_path / "out").sha256[WEIGHTS] != read_manifest(bundle).sha256[WEIGHTS]
    assert read_manifest(tmp_path / "out").sha256[TOKENIZER] == read_manifest(bundle).sha256[TOKENIZER]


def test_another_checkpoint_than_the_bundles_is_refused(
    base: Path, fails: Fails, module_folders: list[Path], tmp_path: Path
) -> None:
    export(base, tmp_path / "bundle", precision="int8")
    tensors = tensors_of(base)
    tensors["encoder.final_layer_norm.weight"] = tensors["encoder.final_layer_norm.weight"] + np.float32(1e-3)
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    arguments = ("--to", "bundle", "--bundle", tmp_path / "bundle", "--base", base, "--out", tmp_path / "out")
    assert "another checkpoint" in fails("convert", module_folders[0], *arguments)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".edge*"))


def test_a_bundle_in_fp32_is_baked(run: Run, bundle: Path, module_folders: list[Path], tmp_path: Path) -> None:
    result = run("convert", module_folders[0], "--to", "bundle", "--bundle", bundle, "--out", tmp_path / "one")
    assert result.exit_code == 0, result.output
    assert run("bake", bundle, module_folders[0], tmp_path / "two").exit_code == 0
    assert read_manifest(tmp_path / "one") == read_manifest(tmp_path / "two")


def test_what_does_not_fit_is_refused(base: Path, fails: Fails, module_folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(module: Path, source: object = base) -> str:
        line = fails("convert", module, "--to", "checkpoint", "--base", source, "--out", out)
        assert not out.exists()
        assert not list(tmp_path.glob(".edge*"))
        return line

    other = write_module(tmp_path / "other", "flan-t5-small", seed=1, rank=1)
    assert "for another model" in refused(other)
    deep = write_decoder_module(tmp_path / "llama", TINY["llama"])
    assert "can take a LoRA" in refused(deep)
    assert "is read" in fails("convert", other, "--to", "checkpoint", "--base", base, "--out", base, "--force")
    assert "is read" in fails("convert", other, "--to", "checkpoint", "--base", base, "--out", tmp_path, "--force")
    weights = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "not a complete safetensors file" in refused(module_folders[0])
    tensors = {
        name: array for name, array in tensors_of_bytes(weights, tmp_path).items() if ".0.SelfAttention.q" not in name
    }
    tensors = {name: array for name, array in tensors.items() if "encoder.block.0.layer.0.SelfAttention.q" not in name}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    assert "is no tensor of" in refused(module_folders[0])
    assert "no such folder" in refused(module_folders[0], tmp_path / "nowhere")


def tensors_of_bytes(data: bytes, folder: Path) -> dict[str, Any]:
    (folder / "kept").write_bytes(data)
    return load_file(folder / "kept")


def test_a_tensor_in_two_shards_is_refused(
    base: Path, fails: Fails, module_folders: list[Path], tmp_path: Path
) -> None:
    in_dtype(base, np.float32, 2)
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    first, second = sorted(base.glob("*.safetensors"))
    parts = load_file(first), load_file(second)
    twice = parts[0] if name not in parts[0] else parts[1]
    twice[name] = (parts[0] | parts[1])[name]
    save_file(parts[0], first)
    save_file(parts[1], second)
    line = fails("convert", module_folders[0], "--to", "checkpoint", "--base", base, "--out", tmp_path / "out")
    assert "beside" in line


def test_numbers_too_large_for_the_dtype_are_refused(
    base: Path, fails: Fails, module_folders: list[Path], tmp_path: Path
) -> None:
    in_dtype(base, np.float16)
    module = shutil.copytree(module_folders[0], tmp_path / "large")
    settings = json.loads((module / "adapter_config.json").read_text())
    (module / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 1e7}))
    line = fails("convert", module, "--to", "checkpoint", "--base", base, "--out", tmp_path / "out")
    assert "not finite" in line
    assert "float16" in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--to", "checkpoint"), "needs --base"),
        (("--to", "onnx-adapter"), "needs --bundle"),
        (("--to", "bundle"), "needs --bundle"),
        (("--to", "gguf-lora"), "one of --bundle and --base"),
        (("--to", "checkpoint", "--base", "x", "--rank", 3), "no use for --rank"),
        (("--to", "peft", "--base", "x"), "no use for --base"),
        (("--to", "peft", "--bundle", "x"), "--examples, which are not given"),
        (("--to", "peft", "--examples", "x"), "give both"),
        (("--to", "peft", "--rank", 0), "--rank"),
        (("--to", "onnx-adapter", "--bundle", "x", "--revision", "main"), "no use for --revision"),
        (("--to", "coreml"), "coreml"),
    ],
)
def test_options_that_a_form_has_no_use_for(
    options: tuple[object, ...], expected: str, fails: Fails, module_folders: list[Path], tmp_path: Path
) -> None:
    assert expected in fails("convert", module_folders[0], *options, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "t5", "d_model": 512, "num_heads": 6, "d_kv": 64}, "use_merged=False"),
        ({"model_type": "t5", "d_model": 768, "num_heads": 12, "d_kv": 64}, None),
        ({"model_type": "qwen3", "hidden_size": 1024, "num_attention_heads": 16, "head_dim": 128}, "cannot run"),
        ({"model_type": "gemma", "hidden_size": 2048, "num_attention_heads": 8, "head_dim": 256 + 1}, None),
        ({"model_type": "llama", "hidden_size": 576, "num_attention_heads": 9, "head_dim": 64}, None),
        ({"model_type": "llama", "hidden_size": 576, "num_attention_heads": 9}, None),
    ],
)
def test_optimums_limit_is_told(config: dict[str, Any], expected: str | None, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _warn_of_heads(config, tmp_path)
    assert [expected in str(each.message) for each in told if expected] == ([True] if expected else [])
    assert len(told) == (expected is not None)
