"""The matrices of the adapter that a composition of modules is, made of the modules' own numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..lora.pair import Lora
from .inputs import LoraSource

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


def compose_pairs(sources: Sequence[LoraSource], weights: Float64, composition: str) -> dict[str, Lora]:
    """One LoRA pair for each slot that a module with a weight has, in float32, whatever they were stacked as.

    weights (N,). exact: the A's side by side and the weighted B's, (R, d_in) and (d_out, R); paper: their weighted
    sums, in which a smaller rank counts as padded with zeros. Holds the result and one module's matrices at a time.
    """
    chosen = [(source, weight) for source, weight in zip(sources, weights.astype(np.float32), strict=True) if weight]
    join = sum if composition == "exact" else max
    ranks: dict[str, list[int]] = {}
    sides: dict[str, tuple[int, int]] = {}
    for source, _ in chosen:
        for layer, (rank, *sizes) in source.shapes.items():
            ranks.setdefault(layer, []).append(rank)
            sides[layer] = sizes[0], sizes[1]
    pairs = {}
    for layer, found in ranks.items():
        (d_in, d_out), rank = sides[layer], join(found)
        pairs[layer] = Lora(np.zeros((rank, d_in), np.float32), np.zeros((d_out, rank), np.float32), 1.0)
    filled = dict.fromkeys(pairs, 0)
    for source, weight in chosen:
        for layer, lora in source.loras():
            start = filled[layer]
            place = slice(start, start + len(lora.a))
            pairs[layer].a[place] += lora.a if composition == "exact" else weight * lora.a
            pairs[layer].b[:, place] += weight * lora.scaled_b()
            if composition == "exact":
                filled[layer] = place.stop
    return pairs
