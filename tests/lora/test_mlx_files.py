"""Adapters of mlx_lm: what they compute by its own formula, and what is refused by name."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from edge_lorahub import Hub, Modules
from edge_lorahub.errors import EdgeLorahubError, EdgeLorahubWarning
from edge_lorahub.inspection import inspect
from edge_lorahub.lora.loading import load_module

Tensors = dict[str, NDArray[np.float32]]
# As `mlx_lm.lora` of 0.32 writes it beside the tensors: all of its options.
SETTINGS = {
    "model": "mlx-community/SmolLM2-135M-Instruct-4bit", "train": True, "fine_tune_type": "lora", "optimizer": "adam",
    "optimizer_config": {"adam": {}}, "data": "data", "seed": 0, "num_layers": 2, "batch_size": 4, "iters": 100,
    "val_batches": 25, "learning_rate": 1e-5, "steps_per_report": 10, "steps_per_eval": 200, "adapter_path": "adapters",
    "resume_adapter_file": None, "save_every": 100, "test": False, "test_batches": 500, "max_seq_length": 2048,
    "config": None, "grad_checkpoint": False, "lr_schedule": None, "mask_prompt": False,
    "lora_parameters": {"rank": 3, "dropout": 0.0, "scale": 20.0},
}  # fmt: skip
LAYERS = [f"model.layers.{block}.self_attn.{kind}_proj" for block in (28, 29) for kind in "qv"]


def tensors() -> Tensors:
    rng = np.random.default_rng(1)
    found: Tensors = {}
    for layer in LAYERS:
        found[f"{layer}.lora_a"] = rng.standard_normal((8, 3), np.float32)
        found[f"{layer}.lora_b"] = rng.standard_normal((3, 6), np.float32)
    return found


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "mlx"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(SETTINGS))
    save_file(tensors(), folder / "adapters.safetensors")
    return folder


def test_it_computes_what_mlx_computes(adapter: Path) -> None:
    """`LoRALinear.__call__`: y + scale * ((x @ lora_a) @ lora_b)."""
    module = load_module(adapter)
    assert module.base_model == SETTINGS["model"]
    assert module.task_type == "CAUSAL_LM"
    assert module.shapes == dict.fromkeys(LAYERS, (3, 8, 6))
    x = np.random.default_rng(2).standard_normal((5, 8), np.float32)
    written = tensors()
    for layer, lora in module.loras():
        expected = 20.0 * ((x @ written[f"{layer}.lora_a"]) @ written[f"{layer}.lora_b"])
        np.testing.assert_allclose(x @ (lora.scaled_b() @ lora.a).T, expected, rtol=1e-5, atol=1e-5)


def test_in_the_store_it_is_a_peft_folder_of_the_same_identity(adapter: Path, tmp_path: Path) -> None:
    (adapter / "README.md").write_text("# Mine\n")
    hub = Hub(tmp_path / "store")
    (entry,) = hub.add(adapter)
    module = load_module(entry.folder)
    assert entry.sha256 == module.sha256 == load_module(adapter).sha256
    assert (entry.base_model, entry.task_type) == ("mlx-community/SmolLM2-135M-Instruct-4bit", "CAUSAL_LM")
    assert json.loads((entry.folder / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert sorted(load_file(entry.folder / "adapter_model.safetensors"))[0].startswith("base_model.model.model.layers")
    assert (entry.folder / "README.md").read_text() == "# Mine\n"
    assert hub.verify() == {}
    assert inspect(adapter)["file"].startswith("adapters.safetensors")


def settings(**fields: object) -> Callable[[Path], object]:
    return lambda folder: (folder / "adapter_config.json").write_text(json.dumps(SETTINGS | fields))


def parameters(**fields: object) -> Callable[[Path], object]:
    return settings(lora_parameters={"rank": 3, "dropout": 0.0, "scale": 20.0} | fields)


def changed(change: Callable[[Tensors], object]) -> Callable[[Path], object]:
    def call(folder: Path) -> None:
        found = tensors()
        change(found)
        save_file(found, folder / "adapters.safetensors")

    return call


FIRST = f"{LAYERS[0]}.lora_a"
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "dora": (settings(fine_tune_type="dora"), r"fine_tune_type 'dora' is not supported \(DoRA\)"),
    "old dora": (settings(use_dora=True), r"\(DoRA\)"),
    "full": (settings(fine_tune_type="full", lora_parameters=None), "whole matrices, no LoRA"),
    "unknown type": (settings(fine_tune_type="vera"), "fine_tune_type 'vera' is not supported"),
    "a list": (settings(fine_tune_type=["lora"]), "is not supported"),
    "no parameters": (settings(lora_parameters=None), "lora_parameters must have rank and scale"),
    "alpha": (parameters(alpha=16), "lora_parameters has alpha, which older versions of mlx_lm multiply with"),
    "unknown parameter": (parameters(rs=True), "lora_parameters has 'rs', which is not supported"),
    "no scale": (settings(lora_parameters={"rank": 3}), "scale must be a number, got None"),
    "scale": (parameters(scale="20"), "scale must be a number, got '20'"),
    "infinite": (parameters(scale=1e400), "scale must be a number, got inf"),
    "huge": (parameters(scale=10**400), "scale must be a number"),
    "too large": (parameters(scale=1e39), "times its scale"),
    "rank": (parameters(rank=4), r"lora_a has shape \(8, 3\), but adapter_config.json says rank 4"),
    "rank 0": (parameters(rank=0), "rank must be a whole number of at least 1"),
    "true": (parameters(rank=True), "rank must be a whole number"),
    "other keys": (parameters(keys=["self_attn.q_proj"]), r"does not name that layer \(lora_parameters.keys\)"),
    "keys": (parameters(keys="self_attn.q_proj"), "keys must be a list"),
    "blocks": (settings(num_layers=1), "tensors of blocks 28 to 29, but adapter_config.json says num_layers 1"),
    "num_layers": (settings(num_layers="all"), "num_layers must be a whole number"),
    "model": (settings(model=5), "model must be a name"),
    "magnitude": (changed(lambda t: t.update({f"{LAYERS[0]}.m": np.ones(6, np.float32)})), "DoRA's magnitude"),
    "bias": (changed(lambda t: t.update(bias=np.ones(6, np.float32))), "not the lora_a or lora_b"),
    "half": (changed(lambda t: t.pop(FIRST)), "lora_b only; is the file complete"),
    "none": (changed(lambda t: t.clear()), "no tensors in it"),
    "experts": (changed(lambda t: t.update({FIRST: np.ones((2, 3, 8), np.float32)})), "experts' layers"),
    "embedding": (
        changed(lambda t: t.update({f"model.embed_tokens.lora_{s}": np.ones((3, 3), np.float32) for s in "ab"})),
        "model.embed_tokens is an embedding",
    ),
    "nan": (changed(lambda t: t[FIRST].fill(np.nan)), "not finite in float32"),
    "whole numbers": (changed(lambda t: t.update({FIRST: np.ones((8, 3), np.int32)})), "is I32"),
    "cut off": (lambda f: (f / "adapters.safetensors").write_bytes(b"\x08"), "not a complete safetensors file"),
    "gone": (lambda f: (f / "adapters.safetensors").unlink(), "no adapters.safetensors in it"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(adapter: Path, case: str) -> None:
    change, line = REFUSED[case]
    change(adapter)
    with pytest.raises(EdgeLorahubError, match=line):
        load_module(adapter)


def test_settings_that_come_to_the_same(adapter: Path) -> None:
    expected = load_module(adapter).sha256
    for change in (
        settings(num_layers=-1), settings(num_layers=0), parameters(keys=["self_attn.q_proj", "self_attn.v_proj"]),
        parameters(keys=LAYERS), settings(num_layers=16, seed=3),
    ):  # fmt: skip
        change(adapter)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_module(adapter).sha256 == expected
    settings(new_thing=3)(adapter)
    with pytest.warns(EdgeLorahubWarning, match="unknown settings are ignored: new_thing"):
        assert Modules.load(adapter)[0].sha256 == expected
