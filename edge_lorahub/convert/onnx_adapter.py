"""`onnx-adapter`: the LoRA inputs of a bundle's graphs as ONNX Runtime's own adapter files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from ..bundle.graph_check import check_graph_files
from ..bundle.manifest import Manifest, read_manifest
from ..composition.adapter import Adapter
from ..composition.exact import ExactStack
from ..composition.inputs import Float32, used_slots
from ..composition.prompt_record import warn_of_other_prompt
from ..composition.stack import plain_inputs
from ..errors import BundleError
from ..files.user_path import user_path
from ..lora.modules import check_fit, warn_if_baked
from ..machine.onnx_runtime import ort
from .converted_folder import converted_folder

SUFFIX = ".onnx_adapter"
# Programs may compare it with what they expect of the model; ours has no versions but the bundle's digests.
_VERSION = 1


def to_onnx_adapter(
    adapter: Adapter,
    bundle: str | Path,
    out: Path,
    *,
    force: bool = False,
    facts: Mapping[str, object] | None = None,
) -> list[str]:
    """Writes a file for each graph that takes a LoRA in float32, called as the graph; gives their names.

    A file has every LoRA input of its graph, by the input's name: ONNX Runtime takes no others, and asks for all. Slots
    that the adapter does not have get arrays of rank 0. Graphs for short outputs, which only score, are left out.
    Raises BundleError, ModuleMismatchError, ModuleFileError, or what `converted_folder` raises. Warns where the adapter
    was learned with another prompt than the bundle's, which only this package's commands take from an adapter.
    """
    folder = user_path(bundle)
    manifest = read_manifest(folder)
    files = tuple(
        dict.fromkeys(
            file
            for graph in manifest.graphs
            if graph.lora_type == "float32" and not graph.short
            for file in graph.files
        )
    )
    check_graph_files(folder, manifest, files)
    arrays = _arrays(adapter, manifest)
    warn_of_other_prompt(adapter, manifest.prompt)
    graphs = {file: manifest.sha256[file] for file in files}
    written = [Path(file).stem + SUFFIX for file in files]
    with converted_folder(out, "onnx-adapter", adapter, force=force, facts={"graphs": graphs, **(facts or {})}) as work:
        for file, name in zip(files, written, strict=True):
            _write(work / name, {name: arrays[name] for name in _lora_inputs(folder / file, arrays)})
    return written


def _arrays(adapter: Adapter, manifest: Manifest) -> dict[str, Float32]:
    """All slots' LoRA inputs, by name."""
    check_fit(adapter.shapes, adapter.name, manifest)
    warn_if_baked(adapter.name, adapter.sha256, manifest)
    used = used_slots([adapter], manifest.slots)
    inputs = ExactStack.of([adapter], used).inputs()
    inputs.compose(np.ones(1))
    others = [slot for slot in manifest.slots if slot not in set(used)]
    return {**plain_inputs(others).arrays, **inputs.arrays}


def _lora_inputs(graph: Path, known: dict[str, Float32]) -> list[str]:
    """The names of a graph's LoRA inputs, in its order."""
    found = [value.name for value in onnx.load(graph, load_external_data=False).graph.input if value.name in known]
    if not found:
        raise BundleError(f"{graph}: takes no LoRA, though the manifest says so; export the bundle again")
    return found


def _write(path: Path, arrays: dict[str, Float32]) -> None:
    adapter = ort.AdapterFormat()
    adapter.set_adapter_version(_VERSION)
    adapter.set_model_version(_VERSION)
    adapter.set_parameters({name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()})
    adapter.export_adapter(str(path))
