"""The header of a GGUF file: its metadata and where its tensors lie, read with bounds.

The package `gguf` has a reader of its own. It maps the file, makes several arrays of every string (two seconds and
150 MB for a vocabulary of 49,152), and follows counts beyond the end of the file, so the header is read here. The
numbers of the format, the blocks of every type and dequantization are the package's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from edge_lorahub.errors import CheckpointError, MissingDependencyError
from edge_lorahub.files.outputs import LFS_HEAD, lfs_message
from edge_lorahub.files.reading import open_file

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
# A header of a vocabulary of 262,144 tokens with its merges takes 15 MB.
_LARGEST_HEADER = 256 << 20
# Keys, and items of all lists of strings together: each becomes an object of Python.
_MOST_STRINGS = 4_000_000
_MOST_DIMENSIONS = 4
_MOST_NUMBERS = 1 << 40
_ALIGNMENT = "general.alignment"
_LARGEST_ALIGNMENT = 1 << 20

# The types of values, by their number in the file.
_STRING, _LIST, _BOOL = 8, 9, 7
_SCALARS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", _BOOL: "u1", 10: "<u8", 11: "<i8"}
_SCALARS[12] = "<f8"


class Place(NamedTuple):
    """Where a tensor lies in the file."""

    kind: Any  # gguf.GGMLQuantizationType
    shape: tuple[int, ...]  # as NumPy has it: the last dimension lies together
    start: int  # bytes from the file's beginning
    size: int  # bytes


@dataclass(frozen=True)
class Header:
    """Metadata by key (numbers, truth values, strings, lists of strings, arrays) and tensors by name."""

    fields: Mapping[str, Any]
    tensors: Mapping[str, Place]


def read_header(path: Path) -> Header:
    """Reads and checks the header of a GGUF file, versions 2 and 3.

    Every count and size is held against the file before memory is taken for it. Raises CheckpointError,
    MissingPathError, or MissingDependencyError where the package gguf is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingDependencyError(
            f"{path}: reading GGUF files takes the package gguf: pip install 'edge-lorahub[gguf]'"
        ) from error
    with open_file(path, CheckpointError) as file:
        return _Reader(file, path).read(gguf)


class _Reader:
    """Takes values from the file's front, and never more than the file has."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file = file
        self.path = path
        self.total = file.seek(0, 2)
        file.seek(0)
        self.position = 0
        self.strings = 0

    def read(self, gguf: Any) -> Header:
        self._check_beginning()
        tensors, keys = self.number("<u8"), self.number("<u8")
        # the least that a tensor and a key take
        self.check_count(tensors, 32, "tensors")
        self.check_count(keys, 13, "keys")
        fields: dict[str, Any] = {}
        for _ in range(keys):
            key = self.text("a key")
            if key in fields:
                raise self.wrong(f"the key {key!r:.80} is there twice")
            fields[key] = self.value(key)
        places: dict[str, Place] = {}
        for _ in range(tensors):
            name = self.text("a tensor's name")
            if name in places:
                raise self.wrong(f"the tensor {name!r:.80} is there twice")
            places[name] = self.place(name, gguf)
        return Header(fields, self.placed(places, fields))

    def _check_beginning(self) -> None:
        magic = self.file.read(max(len(_MAGIC), len(LFS_HEAD)))
        if magic.startswith(LFS_HEAD):
            raise CheckpointError(lfs_message(self.path))
        if not magic.startswith(_MAGIC):
            raise CheckpointError(f"{self.path}: not a GGUF file: it does not begin with {_MAGIC.decode()!r}")
        self.file.seek(len(_MAGIC))
        self.position = len(_MAGIC)
        version = self.number("<u4")
        if version & 0xFFFF == 0:
            raise CheckpointError(f"{self.path}: a GGUF file of the other byte order (big-endian) is not supported")
        if version not in _VERSIONS:
            raise CheckpointError(
                f"{self.path}: GGUF version {version} is not supported, only {' and '.join(map(str, _VERSIONS))}; "
                "convert the model again with a current llama.cpp"
            )

    def wrong(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: not a complete GGUF file: {what}; download or copy it again")

    def check_count(self, count: int, least: int, what: str) -> None:
        """Refuses more items than the rest of the file could have, each of at least so many bytes."""
        if count * least > self.total - self.position:
            raise self.wrong(f"it says it has {count} {what}, but only {self.total - self.position} bytes are left")
        self.strings += count
        if self.strings > _MOST_STRINGS:
            raise CheckpointError(f"{self.path}: more than {_MOST_STRINGS} names and words in a header")

    def take(self, size: int, what: str) -> bytes:
        if size > self.total - self.position:
            raise self.wrong(f"it ends within {what}")
        if self.position + size > _LARGEST_HEADER:
            raise CheckpointError(f"{self.path}: a header of more than {_LARGEST_HEADER >> 20} MB")
        data = self.file.read(size)
        if len(data) != size:  # the file became shorter while it was read
            raise self.wrong(f"it ends within {what}")
        self.position += size
        return data

    def number(self, dtype: str, what: str = "its header") -> int:
        data = np.frombuffer(self.take(np.dtype(dtype).itemsize, what), dtype)
        return int(data[0])

    def text(self, what: str) -> str:
        (size,) = struct.unpack("<Q", self.take(8, what))
        data = self.take(size, what)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise self.wrong(f"{what} is not UTF-8 ({data[:40]!r})") from None

    def value(self, key: str) -> Any:
        """A value of any type; whole numbers, fractions and truth values as Python has them."""
        kind = self.number("<u4", key)
        if kind == _STRING:
            return self.text(key)
        if kind == _LIST:
            return self.sequence(key)
        if kind not in _SCALARS:
            raise self.wrong(f"{key} is of the unknown type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        number = np.frombuffer(self.take(dtype.itemsize, key), dtype)[0]
        if kind == _BOOL:
            return bool(number)
        # the shortest decimal: a file has 1e-5 as the float32 9.999999747378752e-06
        return float(str(number)) if dtype.kind == "f" else int(number)

    def sequence(self, key: str) -> Any:
        kind, length = self.number("<u4", key), self.number("<u8", key)
        if kind == _STRING:
            self.check_count(length, 8, f"strings in {key}")
            return [self.text(f"{key}[{index}]") for index in range(length)]
        if kind not in _SCALARS:
            raise self.wrong(f"{key} is a list of the unknown or nested type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        if length * dtype.itemsize > self.total - self.position:
            raise self.wrong(f"{key} has {length} items, more than the file")
        items = np.frombuffer(self.take(length * dtype.itemsize, key), dtype)
        return items.astype(bool) if kind == _BOOL else items

    def place(self, name: str, gguf: Any) -> Place:
        """A tensor's entry; its start is still counted from the first tensor."""
        dimensions = self.number("<u4", name)
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise self.wrong(f"tensor {name:.80} has {dimensions} dimensions")
        shape = tuple(self.number("<u8", name) for _ in range(dimensions))[::-1]
        number, start = self.number("<u4", name), self.number("<u8", name)
        try:
            kind = gguf.GGMLQuantizationType(number)
            block, size = gguf.GGML_QUANT_SIZES[kind]
        except (ValueError, KeyError):
            raise CheckpointError(
                f"{self.path}: tensor {name:.80} is of type {number}, which gguf {_version()} does not know; install a "
                "newer one"
            ) from None
        if 0 in shape or math.prod(shape) > _MOST_NUMBERS:
            raise self.wrong(f"tensor {name:.80} has shape {shape}")
        if shape[-1] % block:
            raise self.wrong(f"tensor {name:.80} has rows of {shape[-1]}, no multiple of {kind.name}'s {block}")
        return Place(kind, shape, start, math.prod(shape) // block * size)

    def placed(self, places: Mapping[str, Place], fields: Mapping[str, Any]) -> dict[str, Place]:
        """The tensors with their starts from the file's beginning; they lie within the file, and apart."""
        alignment = fields.get(_ALIGNMENT, 32)
        if type(alignment) is not int or not 0 < alignment <= _LARGEST_ALIGNMENT or alignment & (alignment - 1):
            raise self.wrong(f"{_ALIGNMENT} must be a power of two, got {alignment!r:.80}")
        first = -(-self.position // alignment) * alignment
        end = 0
        for name, place in sorted(places.items(), key=lambda item: item[1].start):
            if place.start % alignment or place.start < end:
                raise self.wrong(f"tensor {name:.80} lies at {place.start}, within another one or not aligned")
            end = place.start + place.size
            if first + end > self.total:
                raise self.wrong(
                    f"tensor {name:.80} ends at byte {first + end}, but the file has {self.total}; it was cut off"
                )
        return {name: place._replace(start=first + place.start) for name, place in places.items()}


def _version() -> str:
    from importlib.metadata import version

    return version("gguf")
