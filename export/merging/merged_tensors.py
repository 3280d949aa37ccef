"""A checkpoint's tensors with an adapter in them, for an export: nothing is written."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.errors import ModuleMismatchError
from edge_lorahub.tensors.safetensors_file import Float32

from ..source.model_source import Tensors
from .layers import merged_layers
from .merged_weight import merge_weight


class MergedTensors:
    """A `model_source.Tensors`: those of another, of which some get W + delta when they are read."""

    def __init__(self, tensors: Tensors, adapter: Adapter, kinds: Collection[str]) -> None:
        """Raises ModuleMismatchError where the adapter does not fit; kinds: see `merged_layers`."""
        self._tensors, self._adapter = tensors, adapter
        self._loras = merged_layers(adapter, tensors, kinds)
        self._left = set(self._loras)

    @property
    def folder(self) -> Path:
        return self._tensors.folder

    @property
    def names(self) -> list[str]:
        return self._tensors.names

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors.shape(name)

    def equal(self, name: str, other: str, *, rounded: bool = False) -> bool:
        if self._loras.keys() & {name, other}:
            return np.array_equal(self.read(name, self.shape(name)), self.read(other, self.shape(other)))
        return self._tensors.equal(name, other, rounded=rounded)

    def read(self, name: str, shape: tuple[int, ...]) -> Float32:
        array = self._tensors.read(name, shape)
        if name in self._loras:
            if not array.flags.writeable:
                array = array.copy()
            merge_weight(array, self._loras[name], f"{self.folder}: {name} with {self._adapter.name} in it")
            self._left.discard(name)
        return array

    def unused(self) -> list[str]:
        return self._tensors.unused()

    def check_all_merged(self) -> None:
        """Raises ModuleMismatchError where a weight that the adapter changes was never read: the model has it not."""
        if self._left:
            raise ModuleMismatchError(
                f"{self._adapter.name}: {min(self._left)} is in {self.folder}, but is no part of the model that its "
                "settings describe, so the adapter would do nothing there"
            )
