"""safetensors files, tensor by tensor, as float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from .errors import EdgeLorahubError, MissingPathError
from .files import is_lfs_pointer, lfs_message

Float32 = NDArray[np.float32]
_FLOATS = ("F64", "F32", "F16", "BF16")


class TensorFile:
    """An open safetensors file. Reading a tensor copies that tensor only."""

    def __init__(self, handle: Any, path: Path, error: type[EdgeLorahubError]) -> None:
        self._handle = handle
        self._error = error
        self.path = path
        self.names: list[str] = list(handle.keys())

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._handle.get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """The dtype as the file has it, for example "BF16"."""
        return str(self._handle.get_slice(name).get_dtype())

    def read(self, name: str) -> Float32:
        """One tensor, converted to float32."""
        dtype = self.dtype(name)
        if dtype not in _FLOATS:
            raise self._error(f"{self.path}: tensor {name} is {dtype}; only {', '.join(_FLOATS)} can be read")
        if dtype == "BF16":
            import ml_dtypes  # noqa: F401  (registers numpy's bfloat16, which safetensors then finds)
        array: Float32 = np.ascontiguousarray(self._handle.get_tensor(name), dtype=np.float32)
        return array


@contextmanager
def open_tensors(path: Path, error: type[EdgeLorahubError]) -> Iterator[TensorFile]:
    """Opens a safetensors file; whatever is wrong with its contents is raised as `error`."""
    if not path.is_file():
        raise MissingPathError(f"{path}: no such file")
    try:
        with safe_open(str(path), framework="numpy") as handle:
            yield TensorFile(handle, path, error)
    except SafetensorError as problem:
        if is_lfs_pointer(path):
            raise error(lfs_message(path)) from problem
        raise error(f"{path}: not a complete safetensors file ({problem}); download or copy it again") from problem
