"""safetensors files of a checkpoint, copied with an adapter in them: same names, shards, dtypes and metadata."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.errors import CheckpointError
from edge_lorahub.files.outputs import read_json
from edge_lorahub.lora.pair import Lora

from ..source.checkpoint import INDEX, Checkpoint
from .layers import merged_layers
from .merged_weight import check_finite, merge_weight
from .widened_file import write_in_float32

# safetensors' own bound of a header.
_MOST_HEADER = 100_000_000


def write_merged(
    checkpoint: Checkpoint, adapter: Adapter, kinds: Collection[str], work: Path, *, float32: bool = False
) -> None:
    """Writes an open checkpoint's files into a folder, with W + delta where the adapter has a layer.

    float32: all tensors in that dtype, and only those that the checkpoint is read of; else in the files' own.

    Every file is copied and then changed in place through a memory map, so that what the adapter does not change stays
    to the last bit, and the memory in use is that of one weight. kinds: see `merged_layers`. Raises
    ModuleMismatchError, CheckpointError, or ModuleFileError for numbers that are not finite in the file's dtype.
    """
    loras = merged_layers(adapter, checkpoint, kinds)
    total = 0
    for file in checkpoint.files:
        if float32:
            metadata = _header(file)[1].get("__metadata__") or {}
            total += write_in_float32(work / file.name, *checkpoint.tensors_of(file), metadata)
        else:
            shutil.copyfile(file, work / file.name)
    if checkpoint.is_sharded:
        index = read_json(checkpoint.folder / INDEX, CheckpointError)
        if float32:
            index["metadata"] = {"total_size": total}
        (work / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    headers = {file: _header(work / file.name) for file in checkpoint.files}
    for name, lora in loras.items():
        file = checkpoint.file_of(name)
        if others := [other for other, (_, there) in headers.items() if name in there and other != file]:
            raise CheckpointError(
                f"{others[0]}: has tensor {name} too, beside {file.name}; programs differ in which counts"
            )
        start, fields = headers[file]
        begin, end = fields[name]["data_offsets"]
        dtype = _dtype(fields[name]["dtype"], f"{file}: tensor {name}")
        shape = lora.b.shape[0], lora.a.shape[1]
        if end - begin != shape[0] * shape[1] * dtype.itemsize:  # safetensors has checked it
            raise CheckpointError(f"{file}: tensor {name} is not as long as its shape; download or copy the file again")
        weight = np.memmap(work / file.name, dtype, "r+", offset=start + begin, shape=shape)
        _merge(weight, lora, f"{file}: {name} with {adapter.name} in it")
        weight.flush()


def _merge(weight: NDArray[Any], lora: Lora, what: str) -> None:
    """In float32, or float64 where the file has that; rounded once, to the file's dtype."""
    if weight.dtype.itemsize >= 4:
        merge_weight(weight, lora, what)
        return
    wide = weight.astype(np.float32)
    merge_weight(wide, lora, what)
    with np.errstate(over="ignore"):
        rounded = wide.astype(weight.dtype)
    check_finite(rounded.astype(np.float32), f"{what}, in {weight.dtype.name}")
    weight[:] = rounded


def _dtype(name: str, what: str) -> np.dtype[Any]:
    if name == "BF16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    known = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
    if name not in known:
        raise CheckpointError(f"{what} is {name}; an adapter can be added to {', '.join(known)} and BF16")
    return np.dtype(known[name])


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Where a safetensors file's numbers begin, in bytes, and what its header says of each tensor."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _MOST_HEADER:
            raise CheckpointError(f"{path}: a header of {size} bytes; download or copy the file again")
        return 8 + size, json.loads(file.read(size))
