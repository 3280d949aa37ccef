"""A linear layer's LoRA pair, and the identity of a set of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ModuleFileError

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Lora:
    """One linear layer's pair: A float32 (r, d_in), B float32 (d_out, r), delta = scale * B A."""

    a: Float32
    b: Float32
    scale: float

    def scaled_b(self) -> Float32:
        """scale * B, float32 (d_out, r). With A it is all of the pair that reaches a result."""
        if self.scale == 1:
            return self.b
        # what is beyond float32 becomes infinite here, and `check` refuses it
        with np.errstate(over="ignore", invalid="ignore"):
            scaled: Float32 = self.b * np.float32(self.scale)
        return scaled

    def squared_norm(self) -> float:
        """|scale * B A|^2 in the Frobenius norm, from matrices of r x r: that of B^T B and A A^T, entry by entry."""
        a, b = self.a.astype(np.float64), self.b.astype(np.float64)
        return float(self.scale**2 * ((b.T @ b) * (a @ a.T)).sum())

    def check(self, a: str, b: str) -> None:
        """Refuses numbers that are not finite in float32; a and b say which tensors these are, and where.

        Raises ModuleFileError.
        """
        finite_b = np.isfinite(self.b).all()
        for name, finite in ((a, np.isfinite(self.a).all()), (b, finite_b)):
            if not finite:
                raise ModuleFileError(
                    f"{name} has numbers that are not finite in float32; its training may have diverged, so use an "
                    "earlier checkpoint"
                )
        if not np.isfinite(self.scaled_b()).all():
            raise ModuleFileError(
                f"{b} times its scale of {self.scale:g} is not finite in float32; look at lora_alpha and the rank in "
                "adapter_config.json"
            )


def identity(pairs: Iterable[tuple[str, Lora]]) -> str:
    """The hexadecimal SHA-256 of what a set of pairs, by linear layer, computes with: every A and every scale * B.

    The order of the layers, the files' names and the way in which numbers and settings were written have no part in
    it: float16 or float32, safetensors or a pickle, lora_alpha 16 at rank 8 or alpha_pattern with a scale of 2.
    """
    layers = {}
    for layer, lora in pairs:
        digest = hashlib.sha256()
        for matrix in (lora.a, lora.scaled_b()):
            digest.update(f"{matrix.shape}".encode())
            digest.update(np.ascontiguousarray(matrix, "<f4").data)
        layers[layer] = digest.hexdigest()
    return hashlib.sha256(json.dumps(layers, sort_keys=True).encode()).hexdigest()
