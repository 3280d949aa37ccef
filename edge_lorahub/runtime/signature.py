"""What graphs read and give, by name, type and shape: as ONNX Runtime has loaded them, and as a manifest says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ..bundle.graph_check import differ
from ..bundle.graphs import Graph, lora_a_name, lora_b_name, lora_scale_name
from ..bundle.manifest import Manifest
from ..errors import BundleError
from ..machine.onnx_runtime import ort

# A value's type, as ONNX Runtime calls it, and its shape, with the names of the sizes that are free.
Value = tuple[str, tuple[int | str, ...]]
FLOAT, INT64, INT32, INT8 = "tensor(float)", "tensor(int64)", "tensor(int32)", "tensor(int8)"


def values(nodes: Iterable[ort.NodeArg]) -> dict[str, Value]:
    return {node.name: (node.type, tuple(node.shape)) for node in nodes}


def without(found: Mapping[str, Value], names: Collection[str]) -> dict[str, Value]:
    return {name: value for name, value in found.items() if name not in names}


def lora_values(manifest: Manifest, graph: Graph) -> dict[str, Value]:
    """The LoRA inputs of a graph, of all its files together."""
    matrices = INT8 if graph.lora_type == "int8" else FLOAT
    inputs: dict[str, Value] = {}
    for slot in () if graph.lora_type == "none" else manifest.slots:
        rank = f"r.{slot.name}"
        inputs[lora_a_name(slot.name)] = (matrices, (slot.d_in, rank))
        inputs[lora_scale_name(slot.name)] = (FLOAT, (rank,))
        inputs[lora_b_name(slot.name)] = (matrices, (rank, slot.d_out))
    return inputs


def compare_values(
    folder: Path, graph: Graph, lora: Mapping[str, Value], pairs: Iterable[tuple[dict[str, Value], dict[str, Value]]]
) -> None:
    """Compares pairs of what was found and what is wanted. lora: `lora_values`. Raises BundleError."""
    for found, wanted in pairs:
        strange = [name for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
        if strange and strange[0] in lora and strange[0] in found:
            raise BundleError(f"{folder}: its graphs do not take LoRA in {graph.lora_type}; export the bundle again")
        if strange:
            raise differ(folder, strange[0])
