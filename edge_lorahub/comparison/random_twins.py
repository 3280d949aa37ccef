"""The control of chance: for each module one of the same shapes and norms with random contents."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..lora.module import Module
from ..lora.modules import Modules
from ..lora.pair import Lora, identity


@dataclass(frozen=True)
class RandomTwin(Module):
    """A module with the shapes and norms of `original`, whose matrices are drawn anew whenever they are read."""

    original: Module
    seed: int
    products: bool

    @property
    def is_stored(self) -> bool:
        return False

    def loras(self) -> Iterator[tuple[str, Lora]]:
        rng = np.random.default_rng([self.seed, zlib.crc32(self.original.name.encode())])
        for layer, lora in self.original.loras():
            a, b = (rng.standard_normal(matrix.shape, dtype=np.float32) for matrix in (lora.a, lora.b))
            a *= np.linalg.norm(lora.a) / np.linalg.norm(a)
            b *= np.linalg.norm(lora.b) / np.linalg.norm(b)
            if self.products and (size := _product_norm(a, b)):
                b *= np.float32(_product_norm(lora.a, lora.b) / size)
            yield layer, Lora(a, b, lora.scale)


def random_twins(modules: Modules, seed: int, *, products: bool) -> Modules:
    """A twin of each module, under its name.

    The norms of A and of B are the module's. products: those of each slot's change BA instead, which in a trained
    module is larger than in a random one with the same A and B. Needs no disk.
    """
    return Modules([_twin(module, seed, products) for module in modules])


def _twin(module: Module, seed: int, products: bool) -> RandomTwin:
    fields = {name: getattr(module, name) for name in Module.__dataclass_fields__}
    twin = RandomTwin(**fields, original=module, seed=seed, products=products)
    return replace(twin, sha256=identity(twin.loras()))


def _product_norm(a: np.ndarray, b: np.ndarray) -> float:
    """The Frobenius norm of B A, of A (r, d_in) and B (d_out, r), by two (r, r) products."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.sqrt(max(0.0, ((a @ a.T) * (b.T @ b)).sum())))
