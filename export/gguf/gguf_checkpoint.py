"""A GGUF file's tensors as a checkpoint: Hugging Face's names and layouts, dequantized one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from edge_lorahub.errors import CheckpointError
from edge_lorahub.files.reading import open_file
from edge_lorahub.tensors.safetensors_file import Float32

from .header import Place
from .known_architectures import Layout

# Numbers that are dequantized at once: a few arrays of this size are what a tensor takes beside itself.
_PIECE = 1 << 20


class GgufCheckpoint:
    """The tensors of a GGUF file, as a context manager; the interface is that of `export.checkpoint.Checkpoint`.

    Only the tensors that are asked for are read, in pieces, so that the memory in use is that of the largest tensor in
    float32.
    """

    def __init__(self, path: Path, places: Mapping[str, Place], layouts: Mapping[str, Layout]) -> None:
        self.folder = path
        self._tensors = {layout.name: (places[name], layout) for name, layout in layouts.items()}
        self._used: set[str] = set()
        self._file: BinaryIO | None = None

    def __enter__(self) -> GgufCheckpoint:
        self._file = open_file(self.folder, CheckpointError)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def names(self) -> list[str]:
        """Of all tensors, as Hugging Face has them."""
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._found(name)[0].shape

    def unused(self) -> list[str]:
        """The tensors that were neither read nor compared, sorted."""
        return sorted(self._tensors.keys() - self._used)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def equal(self, name: str, other: str, *, rounded: bool = False) -> bool:
        """Whether two tensors hold the same numbers; compared a piece at a time.

        rounded makes no difference: a converter leaves a tied head out.
        """
        (first, layout), (second, other_layout) = self._found(name), self._found(other)
        self._used |= {name, other}
        if first.shape != second.shape:
            return False
        if (layout.heads, layout.minus_one) != (other_layout.heads, other_layout.minus_one):
            return np.array_equal(self._read(name), self._read(other))
        pieces = zip(self._pieces(first, name), self._pieces(second, other), strict=True)
        return all(np.array_equal(one, another) for one, another in pieces)

    def read(self, name: str, shape: tuple[int, ...]) -> Float32:
        """One tensor as float32, after a check of its shape and its numbers."""
        found = self._found(name)[0].shape
        self._used.add(name)
        if found != shape:
            raise CheckpointError(f"{self.folder}: tensor {name} has shape {found}, but its metadata asks for {shape}")
        array = self._read(name)
        if not np.isfinite([array.min(), array.max()]).all():
            raise CheckpointError(
                f"{self.folder}: tensor {name} has numbers that are not finite in float32 (NaN or infinite), with "
                "which every answer would be worthless; download or convert it again"
            )
        return array

    def _found(self, name: str) -> tuple[Place, Layout]:
        if name not in self._tensors:
            raise CheckpointError(f"{self.folder}: tensor {name} is missing; is the file complete?")
        return self._tensors[name]

    def _read(self, name: str) -> Float32:
        place, layout = self._tensors[name]
        row = np.empty(math.prod(place.shape), np.float32)
        start = 0
        for piece in self._pieces(place, name):
            row[start : start + piece.size] = piece
            start += piece.size
        array: Float32 = row.reshape(place.shape)
        if layout.minus_one:
            array -= 1
        return _put_back(array, layout.heads, f"{self.folder}: tensor {name}") if layout.heads else array

    def _pieces(self, place: Place, name: str) -> Iterator[Float32]:
        """A tensor's numbers in order, as the file has them but dequantized; each piece is one-dimensional."""
        import gguf

        if self._file is None:
            raise ValueError("the checkpoint is not open")
        block, size = gguf.GGML_QUANT_SIZES[place.kind]
        blocks = math.prod(place.shape) // block
        step = max(1, _PIECE // block)
        for start in range(0, blocks, step):
            count = min(step, blocks - start)
            # each time, since two tensors may be read in turn
            self._file.seek(place.start + start * size)
            data = self._file.read(count * size)
            if len(data) != count * size:
                raise CheckpointError(f"{self.folder}: tensor {name} is cut off; download or copy the file again")
            yield _dequantized(data, place, f"{self.folder}: tensor {name}")


def _dequantized(blocks: bytes, place: Place, what: str) -> Float32:
    """Whole blocks of a tensor's type as float32, one-dimensional."""
    import gguf

    # as one row: the package works on rows in groups of 16, and is slow on short ones
    row = np.frombuffer(blocks, np.uint8).reshape(1, -1)
    # scales that are not finite give NaN without a word; callers look for it
    with suppress(NotImplementedError), np.errstate(all="ignore"):
        return np.asarray(gguf.dequantize(row, place.kind), np.float32).ravel()
    raise CheckpointError(
        f"{what} is of type {place.kind.name}, which the package gguf cannot dequantize; take a file of another type "
        "(Q8_0, for example)"
    )


def _put_back(array: Float32, heads: int, what: str) -> Float32:
    """Rows (heads, K / 2, 2) of a rotary embedding on neighbors -> (heads, 2, K / 2), that on halves."""
    if array.shape[0] % (2 * heads):
        raise CheckpointError(f"{what} has {array.shape[0]} rows, which {heads} heads of an even size do not have")
    rows = array.reshape(heads, -1, 2, *array.shape[1:]).swapaxes(1, 2)
    result: Float32 = np.ascontiguousarray(rows).reshape(array.shape)
    return result
