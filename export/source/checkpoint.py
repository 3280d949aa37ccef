"""A Hugging Face checkpoint folder: one safetensors file or a sharded index, read tensor by tensor."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from edge_lorahub.errors import CheckpointError, MissingPathError
from edge_lorahub.files.outputs import read_json
from edge_lorahub.tensors.safetensors_file import Float32, TensorFile, open_tensors

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)
# Numbers of two tensors that are compared at once.
_COMPARED = 1 << 20


class Checkpoint:
    """The tensors of a checkpoint folder, as a context manager.

    Only the tensors that are asked for are read, one at a time, so that the memory in use is that of the
    largest tensor and not that of the checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._where: dict[str, TensorFile] = {}
        self._used: set[str] = set()

    def __enter__(self) -> Checkpoint:
        with self._stack:
            for path, names in self._files().items():
                tensors = self._stack.enter_context(open_tensors(path, CheckpointError))
                there = set(tensors.names)
                for name in tensors.names if names is None else names:
                    if name not in there:
                        raise CheckpointError(
                            f"{path}: tensor {name:.200} is missing, though {INDEX} says it is there; "
                            "download the checkpoint again"
                        )
                    self._where[name] = tensors
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, value, trace)

    @property
    def names(self) -> list[str]:
        """Of all tensors."""
        return list(self._where)

    @property
    def files(self) -> list[Path]:
        """The safetensors files that are read."""
        return list(dict.fromkeys(tensors.path for tensors in self._where.values()))

    @property
    def is_sharded(self) -> bool:
        """Whether an index says which file has which tensor."""
        return not (self.folder / SINGLE).is_file()

    def tensors_of(self, file: Path) -> tuple[TensorFile, list[str]]:
        """One of `files`, open, and the names of the tensors that are read from it."""
        names = [name for name, tensors in self._where.items() if tensors.path == file]
        return self._where[names[0]], names

    def file_of(self, name: str) -> Path:
        """The file that a tensor is in."""
        return self._where[name].path

    def shape(self, name: str) -> tuple[int, ...]:
        return self._where[name].shape(name)

    def unused(self) -> list[str]:
        """The tensors that were neither read nor compared, sorted."""
        return sorted(self._where.keys() - self._used)

    def __contains__(self, name: str) -> bool:
        return name in self._where

    def equal(self, name: str, other: str, *, rounded: bool = False) -> bool:
        """Whether two tensors hold the same numbers; compared some rows at a time.

        rounded: or would, if the one of the finer dtype were rounded to the other's.
        """
        first, second = self._where[name], self._where[other]
        self._used |= {name, other}
        shape = first.shape(name)
        if shape != second.shape(other):
            return False
        convert = _rounding(first.dtype(name), second.dtype(other)) if rounded else _as_it_is
        rows = max(1, _COMPARED // max(1, math.prod(shape[1:])))
        starts = range(0, shape[0], rows) if shape else ()
        return all(
            np.array_equal(
                convert(first.rows(name, start, start + rows)), convert(second.rows(other, start, start + rows))
            )
            for start in starts
        )

    def read(self, name: str, shape: tuple[int, ...]) -> Float32:
        """One tensor as float32, after a check of its shape and its numbers."""
        if name not in self._where:
            raise CheckpointError(f"{self.folder}: tensor {name} is missing; is the checkpoint complete?")
        self._used.add(name)
        found = self._where[name].shape(name)
        if found != shape:
            raise CheckpointError(
                f"{self._where[name].path}: tensor {name} has shape {found}, but config.json asks for {shape}"
            )
        array = self._where[name].read(name)
        # without an array of truth values: the largest tensor is large enough
        if array.size and not np.isfinite([array.min(), array.max()]).all():
            raise CheckpointError(
                f"{self._where[name].path}: tensor {name} has numbers that are not finite in float32 (NaN or "
                "infinite), with which every answer would be worthless; download it again, or take an earlier "
                "checkpoint of its training"
            )
        return array

    def _files(self) -> dict[Path, list[str] | None]:
        """Each safetensors file with the tensors to take from it (None: all)."""
        if (self.folder / SINGLE).is_file():
            return {self.folder / SINGLE: None}
        if (self.folder / INDEX).is_file():
            weight_map = read_json(self.folder / INDEX, CheckpointError).get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise CheckpointError(f"{self.folder / INDEX}: no weight_map; download the checkpoint again")
            files: dict[Path, list[str] | None] = {}
            for name, file in weight_map.items():
                if not isinstance(file, str) or not _SHARD.fullmatch(file):
                    raise CheckpointError(
                        f"{self.folder / INDEX}: tensor {name!r:.80} is said to be in {file!r:.80}, which is no name "
                        "of a safetensors file in the same folder"
                    )
                names = files.setdefault(self.folder / file, [])
                assert names is not None
                names.append(name)
            return files
        raise MissingPathError(f"{self.folder}: neither {SINGLE} nor {INDEX} is there; is it a checkpoint?")


def _as_it_is(array: Float32) -> Float32:
    return array


def _rounding(*dtypes: str) -> Callable[[Float32], Float32]:
    """Rounds to each of some dtypes, named as safetensors does, and back."""

    def convert(array: Float32) -> Float32:
        with np.errstate(over="ignore"):
            if "F16" in dtypes:
                array = array.astype(np.float16).astype(np.float32)
            if "BF16" in dtypes:
                import ml_dtypes

                array = array.astype(ml_dtypes.bfloat16).astype(np.float32)
        return array

    return convert
