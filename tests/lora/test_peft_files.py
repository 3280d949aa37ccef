"""PEFT folders read, checked and written: keys, dtypes, what is refused, and what is warned about by name."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch_files import state_dict

from edge_lorahub import Example, Model, Modules, Settings, adapt, load_adapter
from edge_lorahub.errors import EdgeLorahubWarning, MissingPathError, ModuleFileError
from edge_lorahub.inspection import inspect
from edge_lorahub.lora.loading import load_module
from edge_lorahub.lora.pair import Lora
from edge_lorahub.lora.peft_files import write_peft

Tensors = dict[str, NDArray[np.float32]]
Q = "encoder.block.0.layer.0.SelfAttention.q"
A = np.arange(8, dtype=np.float32).reshape(2, 4)
B = np.arange(6, dtype=np.float32).reshape(3, 2) - 2


def write(folder: Path, tensors: Tensors, **fields: object) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "task_type": "SEQ_2_SEQ_LM", "r": 2, "lora_alpha": 6, "target_modules": ["q"]}
    (folder / "adapter_config.json").write_text(json.dumps(settings | fields))
    return folder


def keys(layer: str = Q, infix: str = "") -> Tensors:
    """A pair under peft's names."""
    return {f"base_model.model.{layer}.lora_{side}{infix}.weight": m for side, m in (("A", A), ("B", B))}


@pytest.mark.parametrize("infix", ["", ".default", ".my_adapter"])
def test_every_spelling_of_the_keys(tmp_path: Path, infix: str) -> None:
    module = load_module(write(tmp_path / "task", keys(infix=infix)))
    assert module.name == "task"
    assert dict(module.shapes) == {Q: (2, 4, 3)}
    ((layer, lora),) = module.loras()
    assert layer == Q
    assert lora.scale == 3
    np.testing.assert_array_equal(lora.a, A)
    np.testing.assert_array_equal(lora.b, B)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_dtype_becomes_float32(tmp_path: Path, dtype: type) -> None:
    module = load_module(write(tmp_path, {key: array.astype(dtype) for key, array in keys().items()}))
    ((_, lora),) = module.loras()
    assert lora.a.dtype == lora.b.dtype == np.float32
    np.testing.assert_array_equal(lora.a, A)
    np.testing.assert_array_equal(lora.b, B)


def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path: Path) -> None:
    folder = write(tmp_path, keys())
    # a file by hand: 0x3F80 is 1, 0xC040 is -3
    raw = np.array([0x3F80, 0xC040, 0, 0x3F80, 0x3F80, 0x3F80], "<u2").tobytes()
    header = json.dumps({
        f"base_model.model.{Q}.lora_A.weight": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},
        f"base_model.model.{Q}.lora_B.weight": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [8, 12]},
    }).encode()  # fmt: skip
    (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + raw)
    ((_, lora),) = load_module(folder).loras()
    assert lora.a.tolist() == [[1, -3], [0, 1]]
    assert lora.b.tolist() == [[1, 1]]


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, {key: array.astype(np.int64) for key, array in keys().items()})
    with pytest.raises(ModuleFileError, match=r"lora_A\.weight is I64"):
        load_module(folder)


@pytest.mark.parametrize(
    ("tensors", "fields", "words"),
    [
        ({**keys(), "base_model.model.lm_head.weight": A}, {}, "base_model.model.lm_head.weight is not supported"),
        ({**keys(), f"base_model.model.{Q}.lora_magnitude_vector": A[0]}, {}, "DoRA"),
        ({f"base_model.model.{Q}.lora_embedding_A": A}, {}, "not the A or B"),
        ({f"base_model.model.{Q}.lora_A.bias": A[0]}, {}, "not the A or B"),
        ({f"base_model.model.{Q}.lora_A.weight": A}, {}, f"{Q} has lora_A only"),
        ({f"base_model.model.{Q}.lora_B.weight": B}, {}, f"{Q} has lora_B only"),
        ({**keys(), **keys(infix=".other")}, {}, "several adapters"),
        ({**keys(infix=".one"), **keys("b.q", infix=".two")}, {}, "several adapters (one, two)"),
        ({**keys(infix=".one"), **keys(infix=".two")}, {}, "several adapters (one, two)"),
        ({}, {}, "no tensors in it"),
        ({**keys(), f"base_model.model.{Q}.lora_A.weight": A[:0]}, {}, "is empty, shape (0, 4); DeepSpeed ZeRO-3"),
        (
            {**keys(), "base_model.model.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": A},
            {"bias": "all"},
            "the base model's own position bias, which older versions of peft train and save with bias 'all'",
        ),
        (keys("encoder.block.0.layer.0.SelfAttention.k"), {}, "does not target that layer"),
        (keys(), {"layers_to_transform": [3]}, "does not target that layer"),
        (keys(), {"exclude_modules": ["q"]}, "does not target that layer"),
        (keys(), {"r": 3}, "lora_A.weight has shape (2, 4), but adapter_config.json says rank 3"),
        (keys(), {"rank_pattern": {"q": 1}}, "says rank 1"),
        ({**keys(), f"base_model.model.{Q}.lora_B.weight": B.T}, {}, "lora_B.weight has shape (2, 3)"),
        ({**keys(), f"base_model.model.{Q}.lora_A.weight": A[:, :, None]}, {}, "has shape (2, 4, 1)"),
        ({**keys(), f"base_model.model.{Q}.lora_A.weight": A[0]}, {}, "has shape (4,)"),
    ],
)
def test_what_cannot_be_composed_is_refused_by_name(
    tmp_path: Path, tensors: Tensors, fields: dict[str, object], words: str
) -> None:
    tensors = {key: np.ascontiguousarray(array) for key, array in tensors.items()}
    with pytest.raises(ModuleFileError) as error:
        load_module(write(tmp_path, tensors, **fields))
    assert words in str(error.value)
    assert str(tmp_path / "adapter_model.safetensors") in str(error.value)


def test_the_pickled_file_is_read_where_there_is_no_other(tmp_path: Path) -> None:
    folder = write(tmp_path, keys())
    state_dict(folder / "adapter_model.bin", {key: array * 2 for key, array in keys().items()})
    ((_, lora),) = load_module(folder).loras()
    np.testing.assert_array_equal(lora.a, A)
    (folder / "adapter_model.safetensors").unlink()
    module = load_module(folder)
    assert module.file.name == "adapter_model.bin"
    ((_, lora),) = module.loras()
    np.testing.assert_array_equal(lora.a, A * 2)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(MissingPathError, match=r"neither adapter_model\.safetensors nor adapter_model\.bin"):
        load_module(folder)


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, keys()) / "adapter_model.safetensors"
    data = file.read_bytes()
    for length in (0, 4, 20, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(ModuleFileError, match=r"adapter_model\.safetensors: not a complete safetensors file"):
            load_module(tmp_path)


def test_an_lfs_pointer_is_named(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1189536\n"
    file = write(tmp_path, keys()) / "adapter_model.safetensors"
    file.write_text(pointer)
    with pytest.raises(ModuleFileError, match=r"a Git LFS pointer, .*git lfs pull"):
        load_module(tmp_path)
    file.rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ModuleFileError, match=r"adapter_model\.bin: a Git LFS pointer"):
        load_module(tmp_path)


def copy_with(source: Path, to: Path, change: dict[str, float]) -> Path:
    """A copy of a module in which every A or B (the keys of `change`) is multiplied."""
    shutil.copytree(source, to)
    tensors = load_file(to / "adapter_model.safetensors")
    for key in tensors:
        tensors[key] = tensors[key] * np.float32(change.get(key.split("lora_")[1][0], 1))
    save_file(tensors, to / "adapter_model.safetensors")
    return to


def messages(model: Model, folders: list[Path], examples: list[Example]) -> list[str]:
    """The warnings of loading modules and adapting with them, but for one of finding nothing in two candidates."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        adapt(model, Modules.load(folders), examples, Settings(budget=2, surrogate=False))
    found = [str(w.message) for w in caught if issubclass(w.category, EdgeLorahubWarning)]
    return [message for message in found if not message.startswith("none of 2 candidates")]


def test_copies_are_warned_about_by_name(
    model: Model, module_folders: list[Path], examples: list[Example], tmp_path: Path
) -> None:
    twin = Path(shutil.copytree(module_folders[0], tmp_path / "twin"))
    assert messages(model, module_folders, examples) == []
    assert messages(model, [*module_folders, twin], examples) == [
        "the same module, to the last number, under several names: module-0, twin"
    ]


def test_a_module_that_does_nothing_is_warned_about_by_name(
    model: Model, module_folders: list[Path], examples: list[Example], tmp_path: Path
) -> None:
    idle = copy_with(module_folders[0], tmp_path / "idle", {"B": 0})
    (warning,) = messages(model, [idle, module_folders[1]], examples)
    assert warning.startswith("idle: all of its B are zero")


def test_another_base_model_is_warned_about_by_name(
    model: Model, module_folders: list[Path], examples: list[Example], tmp_path: Path
) -> None:
    settings = json.loads((module_folders[0] / "adapter_config.json").read_text())
    folders = [module_folders[1]]
    # the names after which a module may call the bundle's model "tiny", and one that it may not
    for name, base in (("path", "/somewhere/tiny/"), ("case", "google/Tiny"), ("none", None), ("other", "tiny-t5")):
        folders.append(copy_with(module_folders[0], tmp_path / name, {"A": 1 + len(folders)}))
        (folders[-1] / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": base}))
    (warning,) = messages(model, folders, examples)
    assert "trained on 'tiny-t5'" in warning
    assert "the bundle is of 'tiny': other" in warning


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", ["A", "B"])
def test_numbers_that_are_not_finite_are_refused(
    model: Model, module_folders: list[Path], examples: list[Example], tmp_path: Path, side: str, value: float
) -> None:
    broken = copy_with(module_folders[0], tmp_path / "broken", {side: value})
    for refused in (
        lambda: adapt(model, Modules.load([broken]), examples, Settings(budget=2, surrogate=False)),
        lambda: load_adapter(broken),
        lambda: inspect(broken),
    ):
        with pytest.raises(
            ModuleFileError, match=rf"broken/.*: tensor .*\.lora_{side}\.weight has numbers that are not f"
        ):
            refused()


@pytest.mark.parametrize(("alpha", "b"), [(1e300, 1.0), (1e300, 0.0), (-1e30, 1e12)])
def test_a_scale_that_overflows_is_refused(tmp_path: Path, alpha: float, b: float) -> None:
    tensors = keys()
    tensors[f"base_model.model.{Q}.lora_B.weight"] = np.full_like(B, b)
    with pytest.raises(ModuleFileError, match=r"tensor .*lora_B\.weight times its scale of .* is not finite"):
        load_module(write(tmp_path, tensors, lora_alpha=alpha))


def test_a_number_beyond_float32_is_refused(tmp_path: Path) -> None:
    tensors = {key: array.astype(np.float64) * 1e300 for key, array in keys().items()}
    with pytest.raises(ModuleFileError, match=r"lora_A\.weight has numbers that are not finite in float32"):
        load_module(write(tmp_path, tensors))


def test_a_single_module_may_stand_alone(module_folders: list[Path]) -> None:
    for source in (module_folders[0], str(module_folders[0])):
        assert Modules.load(source).names == ["module-0"]


def test_what_changes_nothing_is_warned_about_once(
    model: Model, module_folders: list[Path], examples: list[Example], tmp_path: Path
) -> None:
    folder = copy_with(module_folders[0], tmp_path / "odd", {})
    settings = json.loads((folder / "adapter_config.json").read_text())
    changes = {"task_type": "CASUAL_LM", "bias": "all", "fan_in_fan_out": True}
    (folder / "adapter_config.json").write_text(json.dumps(settings | changes))
    assert messages(model, [folder], examples) == [
        f"{folder / 'adapter_config.json'}: settings that change nothing in a LoRA: task_type 'CASUAL_LM' "
        "(not 'SEQ_2_SEQ_LM' or 'CAUSAL_LM'), bias 'all' (no bias is in the file), fan_in_fan_out True (for layers of "
        "another kind)"
    ]


def test_folders_of_one_name_are_told_apart(module_folders: list[Path], tmp_path: Path) -> None:
    folders = [
        copy_with(module_folders[0], tmp_path / parent / "checkpoint-10", {"A": scale})
        for scale, parent in enumerate(("task-a", "task-b", "more/task-b"), 1)
    ]
    assert Modules.load(folders[:2]).names == ["task-a/checkpoint-10", "task-b/checkpoint-10"]
    names = Modules.load([module_folders[1], *folders]).names
    assert names[:2] == ["module-1", "task-a/checkpoint-10"]
    assert names[3] == "more/task-b/checkpoint-10"
    assert len(set(names)) == 4


def test_what_is_written_is_what_peft_reads(tmp_path: Path) -> None:
    loras = {Q: Lora(A, B, 0.5), "decoder.block.0.layer.0.SelfAttention.q": Lora(A[:1], B[:, :1], 2.0)}
    write_peft(tmp_path, "google/flan-t5-tiny", loras, "SEQ_2_SEQ_LM")
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    # peft 0.9 to 0.14 take no escaped names, and 0.6 and 0.7 no field that they do not know
    assert settings["rank_pattern"] == settings["alpha_pattern"] == {"decoder.block.0.layer.0.SelfAttention.q": 1}
    assert not [key for key, value in settings.items() if value is False or value is None]
    assert {p.name for p in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert {key: array.tobytes() for key, array in tensors.items()} == {
        f"base_model.model.{layer}.lora_{side}.weight": matrix.tobytes()
        for layer, lora in loras.items()
        for side, matrix in (("A", lora.a), ("B", lora.b * np.float32(lora.scale)))
    }
    head = (tmp_path / "adapter_model.safetensors").read_bytes()
    size = int.from_bytes(head[:8], "little")
    assert json.loads(head[8 : 8 + size])["__metadata__"] == {"format": "pt"}
    module = load_module(tmp_path)
    assert module.base_model == "google/flan-t5-tiny"
    assert {layer: shape[0] for layer, shape in module.shapes.items()} == {
        layer: len(lora.a) for layer, lora in loras.items()
    }
    for layer, lora in module.loras():
        assert lora.scale == 1
        np.testing.assert_array_equal(lora.b @ lora.a, loras[layer].b @ loras[layer].a * np.float32(loras[layer].scale))
