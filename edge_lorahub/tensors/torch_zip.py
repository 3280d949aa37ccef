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

from ..errors import ModuleFileError
from ..files.outputs import is_lfs_pointer, lfs_message
from .torch_pickle import STORAGES, RefusedError, Tensor, read_pickle

Float32 = NDArray[np.float32]
# A state dict's pickle is a few hundred bytes a tensor.
_LARGEST_PICKLE = 4 << 20
# What Python's zipfile makes of an archive's directory takes ten times its size.
_LARGEST_DIRECTORY = 4 << 20
# A zip's local header and its end, without the texts behind them.
_HEADER, _END, _LONGEST_COMMENT = 30, 22, 0xFFFF
# By how much the tensors in float32 may be larger than the file. Half precision doubles it, and so do tensors that two
# names share.
_MOST_GROWTH = 4


def read_state_dict(path: Path) -> dict[str, Float32]:
    """The tensors of a file that `torch.save(state_dict, path)` wrote, as float32.

    Raises ModuleFileError for a file that is damaged, of the format before torch 1.6, that holds anything but named
    tensors, or whose tensors are much larger than the file.
    """
    if not zipfile.is_zipfile(path):
        if is_lfs_pointer(path):
            raise ModuleFileError(lfs_message(path))
        raise ModuleFileError(
            f"{path}: not in torch's zip format (damaged, or saved before torch 1.6); load it with torch in a "
            "safe place and save it again, best as safetensors"
        )
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive)
            folder, tensors = _read_pickle(archive, entries)
            storages = _read_storages(archive, entries, folder, tensors)
            for name, tensor in tensors.items():
                _check(storages[tensor.storage.key], name, tensor)
            grown = 4 * sum(prod(tensor.shape) for tensor in tensors.values())
            if grown > _MOST_GROWTH * path.stat().st_size:
                raise RefusedError(f"its tensors are more than {_MOST_GROWTH} times as large as the file")
            return {name: _view(storages[tensor.storage.key], tensor) for name, tensor in tensors.items()}
    except RefusedError as refusal:
        raise ModuleFileError(f"{path}: refused: {refusal}") from refusal
    except MemoryError:
        raise
    # what a damaged archive makes the parsers raise is not a fixed set
    except Exception as error:
        raise ModuleFileError(f"{path}: damaged ({type(error).__name__}: {error!s:.200}); download it again") from error


def _check_directory(path: Path) -> None:
    """Refuses a directory of the archive that is too large, before zipfile reads it.

    Its size stands in the archive's last record, and in that of zip64 before it, whichever zipfile then believes.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END - _LONGEST_COMMENT - 76))
        tail = file.read()
    for mark, place, width in ((b"PK\5\6", 12, 4), (b"PK\6\6", 40, 8)):
        start = tail.find(mark)
        while start >= 0:
            size = int.from_bytes(tail[start + place : start + place + width], "little")
            if _LARGEST_DIRECTORY < size < (1 << 8 * width) - 1:
                raise RefusedError("its directory has room for a hundred thousand tensors, more than any module has")
            start = tail.find(mark, start + 1)


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries by name. torch writes each once, uncompressed, and one behind the other."""
    entries = {info.filename: info for info in archive.infolist()}
    if len(entries) < len(archive.infolist()):
        raise RefusedError("two entries of its archive have the same name")
    end = 0
    for info in sorted(entries.values(), key=lambda info: info.header_offset):
        if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
            raise RefusedError(f"{info.filename!r:.80} has two sizes")
        if info.header_offset < end:
            raise RefusedError(f"{info.filename!r:.80} lies within another entry of its archive")
        end = info.header_offset + _HEADER + len(info.filename) + info.compress_size
    return entries


def _read_pickle(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> tuple[str, dict[str, Tensor]]:
    """The archive's folder, and the state dict of its data.pkl."""
    pickles = [info for name, info in entries.items() if name.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > _LARGEST_PICKLE:
        raise RefusedError("not an archive of torch.save (no single data.pkl of a sensible size)")
    folder = pickles[0].filename.removesuffix("data.pkl")
    byteorder = entries.get(f"{folder}byteorder")
    if byteorder is not None and _read(archive, byteorder) != b"little":
        raise RefusedError("it was written on a big-endian machine")
    return folder, read_pickle(_read(archive, pickles[0]))


def _read_storages(
    archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], folder: str, tensors: dict[str, Tensor]
) -> dict[str, Float32]:
    """The storages that the tensors lie in, by key."""
    elsewhere = {name.rpartition("/data/")[2] for name in entries if not name.startswith(folder)}
    storages: dict[str, Float32] = {}
    for name, tensor in tensors.items():
        key, kind = tensor.storage.key, tensor.storage.type
        if kind not in STORAGES:
            raise RefusedError(f"tensor {name:.80} is a {kind:.40}, not floating point")
        if key not in storages:
            info = entries.get(f"{folder}data/{key}")
            if info is None or key in elsewhere:
                raise RefusedError(f"storage {key:.80} is not in the archive" + (" once" if info else ""))
            storages[key] = _float32(_read(archive, info), kind)
    return storages


def _float32(data: bytes, kind: str) -> Float32:
    raw = np.frombuffer(data, dtype=STORAGES[kind])
    if kind == "BFloat16Storage":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32)


def _check(data: Float32, name: str, tensor: Tensor) -> None:
    """Refuses a tensor that is not within its storage."""
    if prod(tensor.shape) > len(data):
        # torch's expanded tensors have a stride of 0; no state dict of a module does
        raise RefusedError(f"tensor {name:.80} is larger than its storage")
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))
    if prod(tensor.shape) and last >= len(data):
        raise RefusedError(f"tensor {name:.80} reaches past its storage")


def _view(data: Float32, tensor: Tensor) -> Float32:
    view = np.lib.stride_tricks.as_strided(
        data[tensor.offset :], tensor.shape, [4 * step for step in tensor.stride], writeable=False
    )
    return np.ascontiguousarray(view)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """An entry's bytes. torch never compresses; a small file that unpacks to gigabytes does."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise RefusedError(f"{info.filename:.80} is compressed")
    return archive.read(info)
