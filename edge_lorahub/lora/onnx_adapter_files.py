"""ONNX Runtime's adapter files of our graphs' LoRA inputs, as `convert --to onnx-adapter` writes them.

A file has the inputs of one graph, so an encoder-decoder's module is two of them. Names and shapes are those of
`bundle.graphs`: y = x W + ((x A) * scale) B, with A (d_in, r), scale (r,) and B (r, d_out). Other programs' graphs have
other names, and the files do not say how they multiply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..bundle.architectures import ROOTS, SOURCE_LAYERS
from ..bundle.graphs import lora_a_name, lora_b_name, lora_scale_name
from ..errors import ModuleFileError, warn
from ..files.kinds import CONVERSION, ONNX_ADAPTER
from ..files.outputs import is_lfs_pointer, lfs_message, read_json, sha256
from ..files.reading import open_file
from .module import Module
from .pair import Float32, Lora, identity
from .peft_keys import LONGEST_NAME, MOST_TENSORS

_SIDES = {"A": lora_a_name, "scale": lora_scale_name, "B": lora_b_name}
_ENDS = {name(""): side for side, name in _SIDES.items()}


def adapter_files(path: Path) -> list[Path]:
    """The adapter files of a module that is one of them, or a folder of them without other settings; else none."""
    if path.is_file():
        return [path] if path.suffix == ONNX_ADAPTER else []
    if any((path / sign).exists() for sign in ("adapter_config.json", "manifest.json", "config.json")):
        return []
    return sorted(file for file in path.glob(f"*{ONNX_ADAPTER}"))


def read_onnx_adapter(path: Path, files: Sequence[Path], name: str) -> Module:
    """As `load_module`, of the adapter files that lie in a folder, or are the path itself.

    The files do not say what the base model does, and its name only the record beside them.
    """
    base_model = _check_record(path, files)
    _refuse_half(path, files)
    pairs = dict(_read(files))
    if not pairs:
        raise ModuleFileError(f"{path}: all of its matrices are of rank 0, so there is no module in it")
    shapes = {layer: (lora.a.shape[0], lora.a.shape[1], lora.b.shape[0]) for layer, lora in pairs.items()}
    scales = {layer: lora.scale for layer, lora in pairs.items()}
    return Module(
        name, path, files[0], base_model, None, identity(pairs.items()), shapes, scales, partial(_read, tuple(files))
    )


def _check_record(path: Path, files: Sequence[Path]) -> str:
    """Compares the files with what the conversion that wrote them says. Gives the base model's name, "" for none."""
    record_file = (path.parent if path.is_file() else path) / CONVERSION
    if not record_file.is_file():
        return ""
    record = read_json(record_file, ModuleFileError)
    written = record.get("sha256")
    wanted = {name: digest for name, digest in written.items() if name.endswith(ONNX_ADAPTER)} if isinstance(
        written, dict
    ) else {}  # fmt: skip
    base_model = record.get("base_model")
    base_model = base_model if isinstance(base_model, str) else ""
    found = {file.name: file for file in files}
    if path.is_file() and path.name not in wanted:
        return ""  # of something else
    if missing := sorted(set(wanted) - set(found)):
        raise ModuleFileError(
            f"{path}: {missing[0]} belongs to it, says {record_file.name} beside it; name the folder, with all files "
            "that the conversion wrote"
        )
    if strange := sorted(name for name in found if wanted and wanted.get(name) != sha256(found[name])):
        raise ModuleFileError(
            f"{found[strange[0]]}: not the file that {record_file.name} beside it tells of; convert the adapter again"
        )
    return base_model


def _refuse_half(path: Path, files: Sequence[Path]) -> None:
    """Of an encoder-decoder's two files one alone is half of a module."""
    if len(files) > 1:
        return
    layers = [layer for layer in _layers(files[0], _arrays(files[0])) if f".{SOURCE_LAYERS}." not in layer]
    roots = {root for root in ROOTS if any(layer.startswith(f"{'.'.join(root)}.") for layer in layers)}
    if len(roots) != 1:
        return
    others = sorted(file.name for file in files[0].parent.glob(f"*{ONNX_ADAPTER}") if file != files[0])
    if not others:
        warn(f"{path}: layers of the {next(iter(roots))[0]} alone; an encoder-decoder's module usually is two files")
    else:
        raise ModuleFileError(
            f"{path}: layers of the {next(iter(roots))[0]} alone, half of an encoder-decoder's module; name its "
            f"folder, {files[0].parent}, which has {others[0]} too"
        )


def _read(files: Sequence[Path]) -> Iterator[tuple[str, Lora]]:
    found: dict[str, tuple[Path, Mapping[str, Float32]]] = {}
    for file in files:
        for layer, arrays in _layers(file, _arrays(file)).items():
            where, before = found.setdefault(layer, (file, arrays))
            if any(not np.array_equal(before[side], arrays[side]) for side in _SIDES):
                raise ModuleFileError(
                    f"{file}: {layer} is in {where.name} too, with other numbers: these are several modules; name "
                    "one of the files"
                )
    for layer, (file, sides) in found.items():
        if len(sides["scale"]) == 0:
            continue  # a slot that the module does not have: the graph asks for all of them
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            b = (sides["scale"][:, None] * sides["B"]).T
        lora = Lora(np.ascontiguousarray(sides["A"].T), np.ascontiguousarray(b), 1.0)
        lora.check(f"{file}: {lora_a_name(layer)}", f"{file}: {lora_scale_name(layer)} times {lora_b_name(layer)}")
        yield layer, lora


def _layers(file: Path, arrays: Mapping[str, Float32]) -> dict[str, dict[str, Float32]]:
    """By layer its A, scale and B, of fitting shapes."""
    layers: dict[str, dict[str, Float32]] = {}
    for name, array in arrays.items():
        end = next((end for end in _ENDS if name.endswith(end) and len(name) > len(end)), None)
        if end is None or len(name) > LONGEST_NAME:
            raise _of_another(file, f"{name!r:.200} is no LoRA input of such a graph")
        layers.setdefault(name.removesuffix(end), {})[_ENDS[end]] = array
    for layer, sides in layers.items():
        if missing := [name(layer) for side, name in _SIDES.items() if side not in sides]:
            raise _of_another(file, f"it has no {missing[0]!r:.200}")
        a, scale, b = (sides[side].shape for side in _SIDES)
        if len(a) != 2 or len(b) != 2 or len(scale) != 1 or not a[1] == scale[0] == b[0]:
            raise ModuleFileError(
                f"{file}: {layer} has A {a}, scale {scale} and B {b}; (d_in, r), (r,) and (r, d_out) were expected"
            )
    return layers


def _of_another(file: Path, why: str) -> ModuleFileError:
    return ModuleFileError(
        f"{file}: of other graphs than this package's, whose inputs are LAYER.lora_A, LAYER.lora_scale and "
        f"LAYER.lora_B: {why}; adapters of Olive or onnxruntime-genai do not say how their graphs multiply, so take "
        "the PEFT folder that they were made of"
    )


def _arrays(file: Path) -> dict[str, Float32]:
    from ..machine.onnx_runtime import ort  # takes a quarter of a second, which other modules need not wait for

    open_file(file, ModuleFileError).close()
    try:
        adapter = ort.AdapterFormat.read_adapter(str(file))
        values = adapter.get_parameters()
        if len(values) > 2 * MOST_TENSORS:
            raise ModuleFileError(f"{file}: {len(values)} parameters; a LoRA module has three for each linear layer")
        kinds = {name: str(value.data_type()) for name, value in values.items()}
        if strange := sorted(name for name, kind in kinds.items() if kind != "tensor(float)"):
            raise ModuleFileError(
                f"{file}: {strange[0]:.200} is {kinds[strange[0]]}, and this package's graphs take LoRA in float32"
            )
        # copies: they are views of the file's bytes, which the adapter holds
        return {name: np.array(value.numpy(), np.float32) for name, value in sorted(values.items())}
    except ModuleFileError:
        raise
    except Exception as error:  # of ONNX Runtime, of names that are not UTF-8
        if is_lfs_pointer(file):
            raise ModuleFileError(lfs_message(file)) from error
        raise ModuleFileError(f"{file}: not a whole adapter file of ONNX Runtime; download or copy it again") from error
