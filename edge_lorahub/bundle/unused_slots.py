"""A graph without the LoRA inputs of slots that no module uses: what they make is zero, and need not be computed.

ONNX Runtime runs every operator of a slot, also where its rank is 0. So a graph is rewritten before it is loaded. An
unused slot's A, scale and B are zero, and so is a product with them; a sum with zero is its other term; and what
nobody reads is not computed. What is left are the graph's own operators on the same values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BundleError
from ..files.reading import read_file
from .graph_check import differ
from .graph_file import GRAPH, LARGEST_FILE, MODEL, NODE
from .graphs import lora_a_name, lora_b_name, lora_scale_name
from .protobuf import MessageError, as_bytes, field, fields

Kind = tuple[bytes, bytes]  # domain and operator

_MICROSOFT = b"com.microsoft"
# The inputs of which a single one that is zero makes the output zero.
_FACTORS: Mapping[Kind, tuple[int, ...]] = {
    (b"", b"MatMul"): (0, 1),
    (b"", b"Mul"): (0, 1),
    (_MICROSOFT, b"FusedMatMul"): (0, 1),
    (_MICROSOFT, b"MatMulIntegerToFloat"): (1,),
    (b"", b"Reshape"): (0,),
    (b"", b"Transpose"): (0,),
    (b"", b"Unsqueeze"): (0,),
}
# Behind these MatMulIntegerToFloat has a zero point of the matrix and a bias, which the exporter does not write.
_WHOLE_NUMBER_INPUTS = 5
# What a graph reads and gives.
_VALUE = {1: "name", 2: "type"}


@dataclass
class _Node:
    kind: Kind
    inputs: list[bytes]
    outputs: list[bytes]
    has_attributes: bool
    parts: list[tuple[str, bytes]]


def without_slots(folder: Path, files: Sequence[str], slots: Iterable[str]) -> list[bytes]:
    """The files of a bundle's graph without the LoRA inputs of these slots, by their names.

    Raises BundleError, also where none of the files has such an input.
    """
    names = {name(slot) for slot in slots for name in (lora_a_name, lora_scale_name, lora_b_name)}
    missing = set(names)
    found = []
    for file in files:
        try:
            model, had = without_inputs(read_file(folder / file, BundleError, LARGEST_FILE), names)
        except (MessageError, IndexError, StopIteration, ValueError) as error:
            reason = str(error) if isinstance(error, MessageError) else "it is damaged"
            raise BundleError(f"{folder / file}: cannot be loaded ({reason}); export the bundle again") from error
        found.append(model)
        missing -= had
    if missing:
        raise differ(folder, min(missing))
    return found


def without_inputs(model: bytes, names: Collection[str]) -> tuple[bytes, set[str]]:
    """A graph's file without those of the named inputs that it has, as if they were zero; and which it had.

    Raises MessageError or IndexError for a file that is damaged, or that does more with them than the exporter's.
    """
    parts = fields(model, MODEL)
    graph = fields(next(as_bytes(value) for name, value in parts if name == "graph"), GRAPH)
    names_of = {value: _name(as_bytes(value)) for name, value in graph if name in ("input", "output")}
    inputs = {names_of[value] for name, value in graph if name == "input"}
    outputs = {names_of[value] for name, value in graph if name == "output"}
    unused = inputs.intersection(name.encode() for name in names)
    if not unused:
        return model, set()
    nodes = _needed(*_reduced([_node(as_bytes(value)) for name, value in graph if name == "node"], unused), outputs)
    kept = [
        (name, value) for name, value in graph if name != "node" and not (name == "input" and names_of[value] in unused)
    ]
    kept += [("node", _joined(node.parts, NODE)) for node in nodes]
    whole = _joined(kept, GRAPH)
    found = _joined([(name, whole if name == "graph" else value) for name, value in parts], MODEL)
    return found, {name.decode() for name in unused}


def _reduced(nodes: list[_Node], unused: set[bytes]) -> tuple[list[_Node], set[bytes]]:
    """The nodes whose outputs are neither zero nor one of their inputs, and the names of all that is zero."""
    zero, same, kept = set(unused), dict[bytes, bytes](), list[_Node]()
    for node in nodes:
        if not same.keys().isdisjoint(node.inputs):
            node.inputs = [same.get(name, name) for name in node.inputs]
            node.parts = [(name, same.get(value, value) if name == "input" else value) for name, value in node.parts]
        value = None if zero.isdisjoint(node.inputs) else _value(node, zero)
        if value is None:
            kept.append(node)
        elif value in zero:
            zero.add(node.outputs[0])
        else:
            same[node.outputs[0]] = value
    return kept, zero


def _value(node: _Node, zero: set[bytes]) -> bytes | None:
    """The input that a node's output is the same as, one that is zero among them; None: its output is its own."""
    inputs = node.inputs
    factors = _FACTORS.get(node.kind)
    if factors is not None:
        if node.kind[1] == b"MatMulIntegerToFloat" and len(inputs) > _WHOLE_NUMBER_INPUTS:
            return None
        return next((inputs[index] for index in factors if inputs[index] in zero), None)
    if node.kind == (b"", b"Add"):
        return inputs[1] if inputs[0] in zero else inputs[0]
    if node.kind == (b"", b"Gemm") and len(inputs) == 3 and not node.has_attributes:
        return inputs[2] if inputs[0] in zero or inputs[1] in zero else None
    return None


def _needed(nodes: list[_Node], zero: set[bytes], outputs: set[bytes]) -> list[_Node]:
    """The nodes that a graph's outputs depend on, in their order."""
    wanted, found = set(outputs), list[_Node]()
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            wanted.update(node.inputs)
            found.append(node)
    if strange := sorted(wanted & zero):
        raise MessageError(f"it does more with LoRA than the exporter's graphs do, of {strange[0].decode()!r:.80}")
    return found[::-1]


def _node(data: bytes) -> _Node:
    parts = fields(data, NODE)
    inputs = [as_bytes(value) for name, value in parts if name == "input"]
    outputs = [as_bytes(value) for name, value in parts if name == "output" and value]
    values = dict(parts)
    kind = as_bytes(values.get("domain", b"")), as_bytes(values.get("op_type", b""))
    return _Node(kind, inputs, outputs, "attribute" in values, parts)


def _name(value: bytes) -> bytes:
    return as_bytes(dict(fields(value, _VALUE)).get("name", b""))


def _joined(parts: list[tuple[str, bytes]], known: Mapping[int, str]) -> bytes:
    numbers = {name: number for number, name in known.items()}
    return b"".join(field(numbers[name], value) for name, value in parts)
