"""Writes files in torch's zip format by hand, one pickle opcode at a time, without torch.

`state_dict` gives what `torch.save` writes; the small functions below it compose anything else, also what no
torch would write.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STOP = b"."
FALSE = b"\x89"
NONE = b"N"


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def sequence(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def numbers(values: Sequence[int]) -> bytes:
    return sequence(*map(number, values))


def name(module: str, attribute: str) -> bytes:
    """GLOBAL: what find_class is asked for."""
    return f"c{module}\n{attribute}\n".encode()


def stack_name(module: str, attribute: str) -> bytes:
    """The same as protocol 4 spells it, STACK_GLOBAL."""
    return text(module) + text(attribute) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + sequence(*arguments) + b"R"


def mapping(entries: Mapping[str, bytes]) -> bytes:
    """An OrderedDict."""
    pairs = b"".join(text(key) + value for key, value in entries.items())
    return call(name("collections", "OrderedDict")) + b"(" + pairs + b"u"


def storage(kind: str, key: str, elements: int = 0) -> bytes:
    """A persistent id, as torch.save writes one for each storage."""
    return sequence(text("storage"), name("torch", kind), text(key), text("cpu"), number(elements)) + b"Q"


def tensor(where: bytes, shape: Sequence[int], stride: Sequence[int] | None = None, offset: int = 0) -> bytes:
    """A tensor in a storage; without strides, a contiguous one."""
    if stride is None:
        stride = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    hooks = call(name("collections", "OrderedDict"))
    return call(rebuild, where, number(offset), numbers(shape), numbers(stride), FALSE, hooks)


def program(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + STOP


def archive(
    path: Path, pickled: bytes, storages: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED
) -> Path:
    """The zip around a pickle and its storages."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("adapter_model/data.pkl", pickled)
        file.writestr("adapter_model/byteorder", "little")
        for key, data in (storages or {}).items():
            file.writestr(f"adapter_model/data/{key}", data, compression)
        file.writestr("adapter_model/version", "3\n")
    return path


def state_dict(path: Path, tensors: Mapping[str, NDArray[np.float32]]) -> Path:
    """What torch.save(state_dict, path) writes for float32 tensors."""
    entries = {
        key: tensor(storage("FloatStorage", str(index), array.size), array.shape)
        for index, (key, array) in enumerate(tensors.items())
    }
    storages = {str(index): array.tobytes() for index, array in enumerate(tensors.values())}
    return archive(path, program(mapping(entries)), storages)
