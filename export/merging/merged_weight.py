"""One weight with a LoRA in it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lorahub.composition.kernels import merge_dense
from edge_lorahub.errors import ModuleFileError
from edge_lorahub.lora.pair import Lora


def merge_weight(weight: NDArray[Any], lora: Lora, what: str) -> None:
    """W += scale B A, in place: weight (d_out, d_in) float32 or float64.

    what names the weight and the adapter. Raises ModuleFileError for a result that is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        merge_dense(weight, lora.b, np.full(lora.b.shape[1], lora.scale, np.float32), lora.a)
    check_finite(weight, what)


def check_finite(weight: NDArray[Any], what: str) -> None:
    """Raises ModuleFileError."""
    if weight.size and not np.isfinite([weight.min(), weight.max()]).all():
        raise ModuleFileError(
            f"{what}: the weight has numbers that are not finite; the adapter's are too large for its dtype, or the "
            "checkpoint's are not finite either"
        )
