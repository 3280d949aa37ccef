"""What a graph of a bundle may be: read and checked before ONNX Runtime gets it, in milliseconds and without `onnx`.

ONNX Runtime runs whatever a graph says: loops, operators of libraries, files anywhere as weights. The exporter writes
a small part of that, and nothing else is let in. A graph is a protocol buffer (onnx.proto), of which this file reads
the fields that the exporter writes; a field that it does not know ends the reading, so that nothing is overlooked.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from ..errors import BundleError
from ..files.reading import read_file
from .manifest import ALIGNMENT, WEIGHTS
from .protobuf import MessageError, as_bytes, as_number, fields, varints

# By domain: the operators that the exporter writes.
OPERATORS = {
    b"": frozenset(
        b"Add And Attention Cast Clip Concat Div Expand Flatten Gather Gelu Gemm Greater Identity LessOrEqual "
        b"MatMul Max Mul Neg RMSNormalization Range ReduceMax ReduceMin ReduceSum Relu Reshape Shape Sigmoid "
        b"Softmax Split Squeeze Sub Tanh Transpose Unsqueeze Where".split()
    ),
    b"com.microsoft": frozenset(
        b"FusedMatMul GroupQueryAttention MatMulIntegerToFloat MultiHeadAttention QuantizeLinear "
        b"RotaryEmbedding".split()
    ),
}  # fmt: skip
LARGEST_FILE = 16 << 20
# Of constants within a graph, which are shapes and thresholds.
_LARGEST_CONSTANT = 256
_LARGEST_NUMBER = 1 << 24
# Of onnx.proto's types, by number: bytes an element of weights, and of constants.
_FLOAT, _UINT8, _INT8, _INT32, _INT64 = 1, 2, 3, 6, 7
_SIZES = {_FLOAT: 4, _INT8: 1}
_CONSTANTS = {_FLOAT: 4, _UINT8: 1, _INT32: 4, _INT64: 8}
TYPES = {"float32": _FLOAT, "int8": _INT8}

# The fields that the exporter writes, by message. None of an attribute's holds a graph or a tensor.
MODEL = {1: "ir_version", 2: "producer_name", 3: "producer_version", 7: "graph", 8: "opset_import"}
GRAPH = {1: "node", 2: "name", 5: "initializer", 11: "input", 12: "output"}
NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "f", 3: "i", 4: "s", 7: "floats", 8: "ints", 20: "type"}
_TENSOR = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data", 13: "external_data", 14: "data_location"}
_ENTRY = {1: "key", 2: "value"}


@dataclass(frozen=True)
class Weight:
    """Where a weight of a graph lies in the bundle's weights.bin, in bytes; type: a number of onnx.proto's."""

    offset: int
    length: int
    shape: tuple[int, ...]
    type: int


def read_graph(path: Path, weights_size: int) -> dict[str, Weight]:
    """The weights of a graph, by name, after a check of all that is in it.

    weights_size: of weights.bin. Raises BundleError for a graph with anything in it that the exporter does not write.
    """
    data = read_file(path, BundleError, LARGEST_FILE)
    try:
        graphs = [as_bytes(value) for name, value in fields(data, MODEL) if name == "graph"]
        if len(graphs) != 1:
            raise MessageError(f"it has {len(graphs)} graphs")
        weights: dict[str, Weight] = {}
        attributes: set[bytes] = set()
        for name, value in fields(graphs[0], GRAPH):
            if name == "node":
                _check_node(as_bytes(value), attributes)
            elif name == "initializer":
                key, weight = _initializer(as_bytes(value), weights_size)
                if weight is not None and weights.setdefault(key, weight) != weight:
                    raise MessageError(f"two weights are called {key!r:.80}")
    except (MessageError, IndexError, ValueError) as error:
        reason = str(error) if isinstance(error, MessageError) else "it is damaged"
        raise BundleError(f"{path}: cannot be loaded ({reason}); export the bundle again") from error
    return weights


def check_overlap(path: Path, weights: dict[str, Weight]) -> None:
    """Refuses weights that share bytes, of which one would be changed with the other. Raises BundleError."""
    end, before = 0, ""
    for name, weight in sorted(weights.items(), key=lambda item: (item[1].offset, item[1].length)):
        if weight.offset < end:
            raise BundleError(f"{path}: the weights {before!r:.80} and {name!r:.80} overlap; export the bundle again")
        end, before = weight.offset + weight.length, name


def _check_node(data: bytes, attributes: set[bytes]) -> None:
    """attributes: those that are known to be well, since most are like others."""
    kind = domain = b""
    for name, value in fields(data, NODE):
        if name == "op_type":
            kind = as_bytes(value)
        elif name == "domain":
            domain = as_bytes(value)
        elif name == "attribute" and value not in attributes:
            fields(as_bytes(value), _ATTRIBUTE)
            attributes.add(value)
    if kind not in OPERATORS.get(domain, ()):
        where = f"{domain.decode(errors='replace')}." if domain else ""
        what = f"{where}{kind.decode(errors='replace')}"
        raise MessageError(f"the operator {what!r:.80} is none that the exporter writes")


def _initializer(data: bytes, weights_size: int) -> tuple[str, Weight | None]:
    """A weight's name, and where it lies; None for a small constant within the graph."""
    shape: list[int] = []
    name, kind, raw, external = "", 0, None, False
    entries: dict[str, str] = {}
    for field, value in fields(data, _TENSOR):
        if field == "dims":
            shape += [value] if isinstance(value, int) else varints(value)
        elif field == "data_type":
            kind = as_number(value)
        elif field == "name":
            name = as_bytes(value).decode()
        elif field == "raw_data":
            raw = as_bytes(value)
        elif field == "data_location":
            external = as_number(value) == 1
        else:
            entry = {key: as_bytes(text).decode() for key, text in fields(as_bytes(value), _ENTRY)}
            if entry.get("key", "") in entries:
                raise MessageError(f"the weight {name!r:.80} lies in two places")
            entries[entry.get("key", "")] = entry.get("value", "")
    if not external:
        _check_constant(name, kind, raw, placed=bool(entries))
        return name, None
    if raw is not None or entries.keys() != {"location", "offset", "length"}:
        raise MessageError(f"the weight {name!r:.80} does not say where it lies as the exporter's do")
    if entries["location"] != WEIGHTS:
        raise MessageError(f"the weight {name!r:.80} lies in {entries['location']!r:.80}, and not in {WEIGHTS}")
    weight = Weight(_place(entries["offset"]), _place(entries["length"]), tuple(shape), kind)
    if kind not in _SIZES or weight.length != prod(shape) * _SIZES[kind]:
        raise MessageError(f"the weight {name!r:.80} has another size than its shape")
    if weight.offset % ALIGNMENT:
        raise MessageError(f"the weight {name!r:.80} starts at {weight.offset}, no multiple of {ALIGNMENT}")
    if weight.offset + weight.length > weights_size:
        raise MessageError(f"the weight {name!r:.80} ends behind {WEIGHTS}, which has {weights_size} bytes")
    return name, weight


def _check_constant(name: str, kind: int, raw: bytes | None, *, placed: bool) -> None:
    width = _CONSTANTS.get(kind)
    if raw is None or placed or width is None or len(raw) > _LARGEST_CONSTANT:
        raise MessageError(f"the constant {name!r:.80} is larger than any of the exporter's, or of another form")
    if kind == _FLOAT:
        return
    numbers = [int.from_bytes(raw[i : i + width], "little", signed=True) for i in range(0, len(raw), width)]
    if any(abs(number) > _LARGEST_NUMBER for number in numbers):
        raise MessageError(f"the constant {name!r:.80} is larger than any of the exporter's")


def _place(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise MessageError(f"{text!r:.40} is no place in {WEIGHTS}")
    return int(text)
