"""A safetensors file written anew in float32, a tensor at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_lorahub.tensors.safetensors_file import TensorFile

# The numbers begin at a multiple of it.
_ALIGNMENT = 8


def write_in_float32(path: Path, tensors: TensorFile, names: Sequence[str], metadata: Mapping[str, str]) -> int:
    """Writes the named tensors of an open file, in their order; gives the bytes of their numbers."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        shape = tensors.shape(name)
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in names:
            file.write(np.ascontiguousarray(tensors.read(name), "<f4").data)
    return end
