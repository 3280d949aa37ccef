"""safetensors files, tensor by tensor, as float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ..errors import EdgeLorahubError
from ..files.outputs import is_lfs_pointer, lfs_message
from ..files.reading import open_file

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
        self._check_dtype(name)
        return _float32(self._handle.get_tensor(name))

    def rows(self, name: str, start: int, stop: int) -> Float32:
        """The rows of a tensor, which is no scalar, from start to before stop or the end; converted to float32."""
        self._check_dtype(name)
        return _float32(self._handle.get_slice(name)[start : min(stop, self.shape(name)[0])])

    def _check_dtype(self, name: str) -> None:
        dtype = self.dtype(name)
        if dtype not in _FLOATS:
            raise self._error(f"{self.path}: tensor {name} is {dtype}; only {', '.join(_FLOATS)} can be read")
        if dtype == "BF16":
            import ml_dtypes  # noqa: F401  (registers numpy's bfloat16, which safetensors then finds)


def _float32(array: Any) -> Float32:
    # a number too large for float32 becomes infinite without a word; callers look for such
    with np.errstate(over="ignore"):
        result: Float32 = np.ascontiguousarray(array, dtype=np.float32)
    return result


@contextmanager
def open_tensors(path: Path, error: type[EdgeLorahubError]) -> Iterator[TensorFile]:
    """Opens a safetensors file; whatever is wrong with its contents is raised as `error`."""
    open_file(path, error).close()  # says "permission denied", where safetensors says "no such file"
    try:
        with safe_open(str(path), framework="numpy") as handle:
            yield TensorFile(handle, path, error)
    except SafetensorError as problem:
        if is_lfs_pointer(path):
            raise error(lfs_message(path)) from problem
        raise error(f"{path}: not a complete safetensors file ({problem}); download or copy it again") from problem
