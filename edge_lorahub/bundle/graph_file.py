"""What a graph of a bundle may be: read and checked before ONNX Runtime gets it, in milliseconds and without `onnx`.

ONNX Runtime runs whatever a graph says: loops, operators of libraries, files anywhere as weights. The exporter writes
a small part of that, and nothing else is let in. A graph is a protocol buffer (onnx.proto), of which this file reads
the fields that the exporter writes; a field that it does not know ends the reading, so that nothing is overlooked.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ..errors import BundleError
from ..files.reading import read_file
from .manifest import ALIGNMENT, WEIGHTS

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
_LARGEST_FILE = 16 << 20
# Of constants within a graph, which are shapes and thresholds.
_LARGEST_CONSTANT = 256
_LARGEST_NUMBER = 1 << 24
# Of onnx.proto's types, by number: bytes an element of weights, and of constants.
_FLOAT, _UINT8, _INT8, _INT32, _INT64 = 1, 2, 3, 6, 7
_SIZES = {_FLOAT: 4, _INT8: 1}
_CONSTANTS = {_FLOAT: 4, _UINT8: 1, _INT32: 4, _INT64: 8}
TYPES = {"float32": _FLOAT, "int8": _INT8}

# The fields that the exporter writes, by message. None of an attribute's holds a graph or a tensor.
_MODEL = {1: "ir_version", 2: "producer_name", 3: "producer_version", 7: "graph", 8: "opset_import"}
_GRAPH = {1: "node", 2: "name", 5: "initializer", 11: "input", 12: "output"}
_NODE = {1: "input", 2: "output", 3: "name", 4: "op_type", 5: "attribute", 7: "domain"}
_ATTRIBUTE = {1: "name", 2: "f", 3: "i", 4: "s", 7: "floats", 8: "ints", 20: "type"}
_TENSOR = {1: "dims", 2: "data_type", 8: "name", 9: "raw_data", 13: "external_data", 14: "data_location"}
_ENTRY = {1: "key", 2: "value"}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Weight:
    """Where a weight of a graph lies in the bundle's weights.bin, in bytes; type: a number of onnx.proto's."""

    offset: int
    length: int
    shape: tuple[int, ...]
    type: int


class _RefusedError(Exception):
    """The graph is not one of the exporter's; the message says why."""


def read_graph(path: Path, weights_size: int) -> dict[str, Weight]:
    """The weights of a graph, by name, after a check of all that is in it.

    weights_size: of weights.bin. Raises BundleError for a graph with anything in it that the exporter does not write.
    """
    data = read_file(path, BundleError, _LARGEST_FILE)
    try:
        graphs = [_text(value) for name, value in _fields(data, _MODEL) if name == "graph"]
        if len(graphs) != 1:
            raise _RefusedError(f"it has {len(graphs)} graphs")
        weights: dict[str, Weight] = {}
        attributes: set[bytes] = set()
        for name, value in _fields(graphs[0], _GRAPH):
            if name == "node":
                _check_node(_text(value), attributes)
            elif name == "initializer":
                key, weight = _initializer(_text(value), weights_size)
                if weight is not None and weights.setdefault(key, weight) != weight:
                    raise _RefusedError(f"two weights are called {key!r:.80}")
    except (_RefusedError, IndexError, ValueError) as error:
        reason = str(error) if isinstance(error, _RefusedError) else "it is damaged"
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
    for name, value in _fields(data, _NODE):
        if name == "op_type":
            kind = _text(value)
        elif name == "domain":
            domain = _text(value)
        elif name == "attribute" and value not in attributes:
            _fields(_text(value), _ATTRIBUTE)
            attributes.add(value)
    if kind not in OPERATORS.get(domain, ()):
        where = f"{domain.decode(errors='replace')}." if domain else ""
        what = f"{where}{kind.decode(errors='replace')}"
        raise _RefusedError(f"the operator {what!r:.80} is none that the exporter writes")


def _initializer(data: bytes, weights_size: int) -> tuple[str, Weight | None]:
    """A weight's name, and where it lies; None for a small constant within the graph."""
    shape: list[int] = []
    name, kind, raw, external = "", 0, None, False
    entries: dict[str, str] = {}
    for field, value in _fields(data, _TENSOR):
        if field == "dims":
            shape += [value] if isinstance(value, int) else _varints(value)
        elif field == "data_type":
            kind = _number(value)
        elif field == "name":
            name = _text(value).decode()
        elif field == "raw_data":
            raw = _text(value)
        elif field == "data_location":
            external = _number(value) == 1
        else:
            entry = {key: _text(text).decode() for key, text in _fields(_text(value), _ENTRY)}
            if entry.get("key", "") in entries:
                raise _RefusedError(f"the weight {name!r:.80} lies in two places")
            entries[entry.get("key", "")] = entry.get("value", "")
    if not external:
        _check_constant(name, kind, raw, placed=bool(entries))
        return name, None
    if raw is not None or entries.keys() != {"location", "offset", "length"}:
        raise _RefusedError(f"the weight {name!r:.80} does not say where it lies as the exporter's do")
    if entries["location"] != WEIGHTS:
        raise _RefusedError(f"the weight {name!r:.80} lies in {entries['location']!r:.80}, and not in {WEIGHTS}")
    weight = Weight(_place(entries["offset"]), _place(entries["length"]), tuple(shape), kind)
    if kind not in _SIZES or weight.length != prod(shape) * _SIZES[kind]:
        raise _RefusedError(f"the weight {name!r:.80} has another size than its shape")
    if weight.offset % ALIGNMENT:
        raise _RefusedError(f"the weight {name!r:.80} starts at {weight.offset}, no multiple of {ALIGNMENT}")
    if weight.offset + weight.length > weights_size:
        raise _RefusedError(f"the weight {name!r:.80} ends behind {WEIGHTS}, which has {weights_size} bytes")
    return name, weight


def _check_constant(name: str, kind: int, raw: bytes | None, *, placed: bool) -> None:
    width = _CONSTANTS.get(kind)
    if raw is None or placed or width is None or len(raw) > _LARGEST_CONSTANT:
        raise _RefusedError(f"the constant {name!r:.80} is larger than any of the exporter's, or of another form")
    if kind == _FLOAT:
        return
    numbers = [int.from_bytes(raw[i : i + width], "little", signed=True) for i in range(0, len(raw), width)]
    if any(abs(number) > _LARGEST_NUMBER for number in numbers):
        raise _RefusedError(f"the constant {name!r:.80} is larger than any of the exporter's")


def _place(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _RefusedError(f"{text!r:.40} is no place in {WEIGHTS}")
    return int(text)


def _fields(data: bytes, known: dict[int, str]) -> list[tuple[str, Any]]:
    """The fields of a protocol buffer's message in their order: names, and whole numbers or bytes.

    In one loop, with the most frequent case first: a graph has some ten thousand fields.
    """
    found: list[tuple[str, Any]] = []
    position, end = 0, len(data)
    while position < end:
        tag = data[position]
        position += 1
        if tag >= 128:
            tag, position = _varint(data, position - 1)
        name = known.get(tag >> 3)
        if name is None:
            raise _RefusedError(f"it has a field, {tag >> 3}, that the exporter does not write")
        kind = tag & 7
        if kind == _BYTES:
            length = data[position]
            position += 1
            if length >= 128:
                length, position = _varint(data, position - 1)
        elif kind == _VARINT:
            value, position = _varint(data, position)
            found.append((name, value))
            continue
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise _RefusedError("it is damaged")
        found.append((name, data[position : position + length]))
        position += length
    if position > end:
        raise _RefusedError("it is damaged")
    return found


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A whole number in base 128, and where it ends."""
    result = shift = 0
    while shift < 64:
        byte = data[position]
        position += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, position
        shift += 7
    raise _RefusedError("it is damaged")


def _varints(data: bytes) -> list[int]:
    found, position = [], 0
    while position < len(data):
        value, position = _varint(data, position)
        found.append(value)
    return found


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise _RefusedError("it is damaged")
    return value


def _text(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise _RefusedError("it is damaged")
    return value
