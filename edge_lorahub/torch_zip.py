"""`adapter_model.bin`: a state dict in torch's zip format, read without torch and without running code.

Format (torch.serialization since torch 1.6): a zip archive, uncompressed, of `NAME/data.pkl`, a pickle of the
state dict in which each storage is a persistent id ("storage", storage type, key, location, elements), and
`NAME/data/KEY`, the bytes of each storage.
"""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import ModuleFileError
from .files import is_lfs_pointer, lfs_message
from .torch_pickle import STORAGES, RefusedError, Storage, Tensor, read_pickle

Float32 = NDArray[np.float32]
# A state dict's pickle is a few hundred bytes a tensor.
_LARGEST_PICKLE = 16 << 20


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
    except RefusedError as refusal:
        raise ModuleFileError(f"{path}: refused: {refusal}") from refusal
    except MemoryError:
        raise
    # what a damaged archive makes the parsers raise is not a fixed set
    except Exception as error:
        raise ModuleFileError(f"{path}: damaged ({type(error).__name__}: {error}); download it again") from error


def _read_pickle(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    pickles = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > _LARGEST_PICKLE:
        raise RefusedError("not an archive of torch.save (no single data.pkl of a sensible size)")
    byteorder = pickles[0].filename.removesuffix("data.pkl") + "byteorder"
    if byteorder in archive.namelist() and _read(archive, byteorder) != b"little":
        raise RefusedError("it was written on a big-endian machine")
    return read_pickle(_read(archive, pickles[0].filename))


def _tensor(archive: zipfile.ZipFile, storages: dict[str, Float32], name: str, tensor: Tensor) -> Float32:
    storage = tensor.storage
    if storage.type not in STORAGES:
        raise RefusedError(f"tensor {name} is a {storage.type}, not floating point")
    if storage.key not in storages:
        storages[storage.key] = _read_storage(archive, storage)
    data = storages[storage.key]
    if prod(tensor.shape) > len(data):
        # torch's expanded tensors have a stride of 0; no state dict of a module does
        raise RefusedError(f"tensor {name} is larger than its storage")
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))
    if prod(tensor.shape) and last >= len(data):
        raise RefusedError(f"tensor {name} reaches past its storage")
    view = np.lib.stride_tricks.as_strided(
        data[tensor.offset :], tensor.shape, [4 * step for step in tensor.stride], writeable=False
    )
    return np.ascontiguousarray(view)


def _read_storage(archive: zipfile.ZipFile, storage: Storage) -> Float32:
    names = [name for name in archive.namelist() if name.endswith(f"/data/{storage.key}")]
    if len(names) != 1:
        raise RefusedError(f"storage {storage.key} is not in the archive")
    raw = np.frombuffer(_read(archive, names[0]), dtype=STORAGES[storage.type])
    if storage.type == "BFloat16Storage":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    """An entry's bytes. torch never compresses; a small file that unpacks to gigabytes does."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise RefusedError(f"{name} is compressed")
    return archive.read(info)
