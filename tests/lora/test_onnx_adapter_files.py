"""ONNX Runtime's adapter files of our graphs' inputs: what they compute by the graphs' formula, and others' refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

from edge_lorahub import Example, Hub, Model, Modules, evaluate, generate, load_adapter
from edge_lorahub.composition.stack import make_stack
from edge_lorahub.errors import EdgeLorahubError, EdgeLorahubWarning
from edge_lorahub.lora.loading import load_module
from edge_lorahub.machine.onnx_runtime import ort

Arrays = dict[str, NDArray[np.float32]]


def write(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> Path:
    adapter = ort.AdapterFormat()
    adapter.set_adapter_version(1)
    adapter.set_model_version(1)
    adapter.set_parameters({name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()})
    adapter.export_adapter(str(path))
    return path


@pytest.fixture
def arrays(modules: Modules, model: Model) -> Arrays:
    """The graphs' inputs for the second module, and one of rank 0."""
    inputs = make_stack([modules[1]], model.manifest, "exact").inputs()
    inputs.compose(np.ones(1))
    found = {name: array.copy() for name, array in inputs.arrays.items()}
    idle = "decoder.block.9.layer.0.SelfAttention.k"
    return found | {
        f"{idle}.lora_A": np.zeros((8, 0), np.float32), f"{idle}.lora_scale": np.zeros(0, np.float32),
        f"{idle}.lora_B": np.zeros((0, 8), np.float32),
    }  # fmt: skip


@pytest.fixture
def halves(arrays: Arrays, tmp_path: Path) -> Path:
    """A folder as `convert` makes it of an encoder-decoder."""
    folder = tmp_path / "task"
    folder.mkdir()
    for half in ("encoder", "decoder"):
        write(folder / f"{half}.onnx_adapter", {n: a for n, a in arrays.items() if n.startswith(half)})
    return folder


def test_it_computes_what_the_graphs_compute(halves: Path, arrays: Arrays, modules: Modules) -> None:
    """y = x W + ((x A) * scale) B; and so what the PEFT folder computes that it was made of."""
    module = load_module(halves)
    assert module.shapes == modules[1].shapes
    rng = np.random.default_rng(1)
    wanted = dict(modules[1].loras())
    for layer, lora in module.loras():
        x = rng.standard_normal((3, lora.a.shape[1]), np.float32)
        a, scale, b = (arrays[f"{layer}.lora_{side}"] for side in ("A", "scale", "B"))
        np.testing.assert_allclose(x @ lora.a.T @ lora.scaled_b().T, ((x @ a) * scale) @ b, rtol=1e-5, atol=1e-6)
        original = wanted[layer]
        np.testing.assert_allclose(lora.scaled_b() @ lora.a, original.scaled_b() @ original.a, rtol=1e-5, atol=1e-6)


def test_every_command_takes_it(
    halves: Path, model: Model, modules: Modules, examples: list[Example], run: Callable[..., Result], tmp_path: Path
) -> None:
    texts = [example.input for example in examples]
    expected = generate(model, texts, adapter=load_adapter(modules[1].folder))
    assert generate(model, texts, adapter=load_adapter(halves)) == expected
    hub = Hub(tmp_path / "store")
    (entry,) = hub.add(halves)
    assert entry.name == "task"
    assert generate(model, texts, adapter=load_adapter(entry.folder)) == expected
    assert hub.list(fits=model.folder) == (entry,)
    assert run("inspect", halves).exit_code == 0
    assert evaluate(model, examples, adapter=load_adapter(halves))


def test_a_single_file(arrays: Arrays, halves: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "whole.onnx_adapter", arrays)
    assert load_module(file).sha256 == load_module(halves).sha256
    assert Hub(tmp_path / "store").add(file)[0].name == "whole"
    with pytest.raises(EdgeLorahubError, match=r"decoder alone, half of an encoder-decoder's module; name its folder"):
        load_module(halves / "decoder.onnx_adapter")
    (halves / "encoder.onnx_adapter").unlink()
    with pytest.warns(EdgeLorahubWarning, match="layers of the decoder alone"):
        load_module(halves / "decoder.onnx_adapter")


def test_several_modules_in_a_folder(arrays: Arrays, tmp_path: Path, run: Callable[..., Result]) -> None:
    """Named alone they are refused; with --modules each is one."""
    folder = tmp_path / "many"
    folder.mkdir()
    write(folder / "a.onnx_adapter", arrays)
    write(folder / "b.onnx_adapter", {name: array * np.float32(2) for name, array in arrays.items()})
    with pytest.raises(EdgeLorahubError, match=r"is in a\.onnx_adapter too, with other numbers"):
        load_module(folder)
    assert run("hub", "add", "--modules", folder, "--store", tmp_path / "store").exit_code == 0
    assert [entry.name for entry in Hub(tmp_path / "store").list()] == ["a", "b"]


def of(name: str, *shape: int, dtype: str = "float32") -> dict[str, NDArray[np.generic]]:
    return {name: np.ones(shape, dtype)}


LAYER = "model.layers.0.self_attn.q_proj"
OLIVE = of(f"{LAYER}.lora_A.weight", 8, 2) | of(f"{LAYER}.lora_B.weight", 2, 8)
WHOLE = of(f"{LAYER}.lora_A", 8, 2) | of(f"{LAYER}.lora_scale", 2) | of(f"{LAYER}.lora_B", 2, 8)
REFUSED: dict[str, tuple[Mapping[str, NDArray[np.generic]], str]] = {
    "of Olive": (OLIVE, "of other graphs than this package's.*lora_A.weight' is no LoRA input.*take the PEFT folder"),
    "of genai": (of("model.layers.0.attn.q_proj.lora_A.MatMul.weight", 8, 2), "of other graphs"),
    "without a scale": ({n: a for n, a in WHOLE.items() if "scale" not in n}, "it has no '.*lora_scale'"),
    "turned": (WHOLE | of(f"{LAYER}.lora_A", 2, 8), r"has A \(2, 8\), scale \(2,\) and B \(2, 8\)"),
    "half precision": (WHOLE | of(f"{LAYER}.lora_A", 8, 2, dtype="float16"), "take LoRA in float32"),
    "eight bits": (WHOLE | of(f"{LAYER}.lora_A", 8, 2, dtype="int8"), "take LoRA in float32"),
    "of rank 0": ({n: a[:0] if a.ndim == 1 else (a[:, :0] if "A" in n else a[:0]) for n, a in WHOLE.items()},
                  "of rank 0, so there is no module"),
    "no number": (WHOLE | {f"{LAYER}.lora_scale": np.full(2, np.inf, np.float32)}, "not finite in float32"),
    "nothing": ({}, "of rank 0, so there is no module"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    parameters, line = REFUSED[case]
    with pytest.raises(EdgeLorahubError, match=line):
        load_module(write(tmp_path / "x.onnx_adapter", parameters))


def test_files_that_are_damaged(arrays: Arrays, tmp_path: Path) -> None:
    file = write(tmp_path / "x.onnx_adapter", arrays)
    data = file.read_bytes()
    for damaged in (b"", data[:100], data[:-10], b"x" * 1000, data[:8] + b"\xff" * 40 + data[48:]):
        file.write_bytes(damaged)
        with pytest.raises(EdgeLorahubError, match="not a whole adapter file of ONNX Runtime"):
            load_module(file)
    file.unlink()
    with pytest.raises(EdgeLorahubError, match="no such folder"):
        load_module(file)
    with pytest.raises(EdgeLorahubError, match=r"x\.txt: a file, where a folder was expected"):
        load_module(shutil.copy(write(file, arrays), tmp_path / "x.txt"))
