"""The rotary embedding's scaling, as Hugging Face's rope_scaling has it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from edge_lorahub.errors import CheckpointError
from edge_lorahub.tensors.safetensors_file import Float32

from .metadata import Metadata

# The settings of all published models with this scaling (Llama 3.1 to 3.3); a file has only what follows from them.
_LOW, _HIGH, _ORIGINAL = 1.0, 4.0, 8192
_TOLERANCE = 1e-4


def rope_scaling(metadata: Metadata, prefix: str) -> dict[str, Any] | None:
    """The scaling that the metadata names: none or linear; others are refused by name."""
    kind = metadata.text(f"{prefix}rope.scaling.type")
    old = metadata.number(f"{prefix}rope.scale_linear", 0)
    factor = metadata.number(f"{prefix}rope.scaling.factor", old) or 1.0
    if kind not in (None, "none", "linear"):
        raise CheckpointError(f"{metadata.path}: rope scaling {kind!r:.80} is not supported, only none and linear")
    if factor <= 0:
        raise CheckpointError(f"{metadata.path}: the rope scaling's factor must be above 0, got {factor}")
    if factor == 1 or kind == "none":
        return None
    return {"rope_type": "linear", "factor": factor}


def llama3_scaling(factors: Float32, theta: float, path: Path) -> dict[str, Any] | None:
    """The settings of Llama 3's scaling that give these factors of the wavelengths, of shape (K / 2,).

    A converter writes the factors and not the settings. Raises CheckpointError for other factors.
    """
    if np.all(factors == 1):
        return None
    factor = float(f"{factors.max():.6g}")
    expected = _llama3_factors(len(factors), theta, factor)
    if not np.allclose(factors, expected, rtol=_TOLERANCE, atol=0):
        raise CheckpointError(
            f"{path}: its rope_freqs are not those of Llama 3's rope scaling (factor {factor}, low_freq_factor {_LOW}, "
            f"high_freq_factor {_HIGH}, original_max_position_embeddings {_ORIGINAL}), and others are not supported"
        )
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": _LOW,
        "high_freq_factor": _HIGH,
        "original_max_position_embeddings": _ORIGINAL,
    }


def _llama3_factors(count: int, theta: float, factor: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """By how much Llama 3.1 divides each frequency: 1 where waves are short, `factor` where they are long."""
    wavelengths = 2 * math.pi * theta ** (np.arange(count) / count)
    smooth = np.clip((_ORIGINAL / wavelengths - _LOW) / (_HIGH - _LOW), 0, 1)
    return np.asarray(1 / ((1 - smooth) / factor + smooth))
