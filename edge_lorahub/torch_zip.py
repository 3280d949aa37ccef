"""`adapter_model.bin`: a state dict in torch's zip format, read without torch and without running code.

Format (torch.serialization since torch 1.6): a zip archive, uncompressed, of `NAME/data.pkl`, a pickle of the
state dict in which each storage is a persistent id ("storage", storage type, key, location, elements), and
`NAME/data/KEY`, the bytes of each storage.

A pickle is a program. The unpickler here finds only the names below, each of which is a stand-in of ours;
every other name is refused before anything of it is imported or called.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModuleFileError
from .files import is_lfs_pointer, lfs_message

Float32 = NDArray[np.float32]
# storage type -> numpy dtype as it lies in the file; bfloat16 is the upper half of a float32
_STORAGES = {"FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2", "DoubleStorage": "<f8"}
_OTHER_STORAGES = ("LongStorage", "IntStorage", "ShortStorage", "CharStorage", "ByteStorage", "BoolStorage")
# A state dict's pickle is a few hundred bytes a tensor.
_LARGEST_PICKLE = 64 << 20


@dataclass(frozen=True)
class _StorageType:
    name: str


@dataclass(frozen=True)
class _Storage:
    type: str
    key: str


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies: a strided view of a storage, counted in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _RefusedError(Exception):
    pass


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    numbers = [offset, *shape, *stride]
    if not isinstance(storage, _Storage) or len(shape) != len(stride):
        raise _RefusedError("a tensor without a storage")
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers):
        raise _RefusedError("a tensor with an impossible shape")
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module in ("torch", "torch.storage") and (name in _STORAGES or name in _OTHER_STORAGES):
            return _StorageType(name)
        raise _RefusedError(f"it asks for {module}.{name}, which no state dict needs; do not trust this file")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(name), str(key), *_):
                return _Storage(name, key)
        raise _RefusedError("a storage in an unknown form")


def read_state_dict(path: Path) -> dict[str, Float32]:
    """The tensors of a file that `torch.save(state_dict, path)` wrote, as float32.

    Raises ModuleFileError for a file that is damaged, of the format before torch 1.6, or that holds anything
    but named tensors.
    """
    if not zipfile.is_zipfile(path):
        if is_lfs_pointer(path):
            raise ModuleFileError(lfs_message(path))
        raise ModuleFileError(
            f"{path}: not in torch's zip format (damaged, or saved before torch 1.6); load it with torch in a "
            "safe place and save it again, best as safetensors"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            tensors = _read_pickle(archive)
            storages: dict[str, Float32] = {}
            return {name: _tensor(archive, storages, name, tensor) for name, tensor in tensors.items()}
    except _RefusedError as refusal:
        raise ModuleFileError(f"{path}: refused: {refusal}") from refusal
    # what a damaged archive or a hostile pickle makes the parsers raise is not a fixed set
    except Exception as error:
        raise ModuleFileError(f"{path}: damaged ({type(error).__name__}: {error}); download it again") from error


def _read_pickle(archive: zipfile.ZipFile) -> dict[str, _Tensor]:
    pickles = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > _LARGEST_PICKLE:
        raise _RefusedError("not an archive of torch.save (no single data.pkl of a sensible size)")
    byteorder = pickles[0].filename.removesuffix("data.pkl") + "byteorder"
    if byteorder in archive.namelist() and archive.read(byteorder) != b"little":
        raise _RefusedError("it was written on a big-endian machine")
    with archive.open(pickles[0]) as file:
        value = _Unpickler(file).load()
    if not isinstance(value, dict):
        raise _RefusedError(f"it holds a {type(value).__name__}, not a state dict")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise _RefusedError(f"entry {name!r} is not a tensor")
    return value


def _tensor(archive: zipfile.ZipFile, storages: dict[str, Float32], name: str, tensor: _Tensor) -> Float32:
    storage = tensor.storage
    if storage.type not in _STORAGES:
        raise _RefusedError(f"tensor {name} is a {storage.type}, not floating point")
    if storage.key not in storages:
        storages[storage.key] = _read_storage(archive, storage)
    data = storages[storage.key]
    if prod(tensor.shape) > len(data):
        # torch's expanded tensors have a stride of 0; no state dict of a module does
        raise _RefusedError(f"tensor {name} is larger than its storage")
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))
    if prod(tensor.shape) and last >= len(data):
        raise _RefusedError(f"tensor {name} reaches past its storage")
    view = np.lib.stride_tricks.as_strided(
        data[tensor.offset :], tensor.shape, [4 * step for step in tensor.stride], writeable=False
    )
    return np.ascontiguousarray(view)


def _read_storage(archive: zipfile.ZipFile, storage: _Storage) -> Float32:
    names = [name for name in archive.namelist() if name.endswith(f"/data/{storage.key}")]
    if len(names) != 1:
        raise _RefusedError(f"storage {storage.key} is not in the archive")
    info = archive.getinfo(names[0])
    if info.compress_type != zipfile.ZIP_STORED:
        # torch never compresses; a small file that unpacks to gigabytes does
        raise _RefusedError(f"storage {storage.key} is compressed")
    raw = np.frombuffer(archive.read(info), dtype=_STORAGES[storage.type])
    if storage.type == "BFloat16Storage":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32)
