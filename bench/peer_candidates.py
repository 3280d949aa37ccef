"""Candidates by a reference and by the runtime, in turn, from the same files; the answers are checked first."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_lorahub import Modules, read_examples
from edge_lorahub.errors import EdgeLorahubError
from edge_lorahub.export.checks.agreement import Agreement
from edge_lorahub.runtime.scoring import Losses
from edge_lorahub.search.settings import POPULATION

from .evaluators import evaluator
from .peer_inputs import Inputs
from .report import Row, median_ms

Float64 = NDArray[np.float64]
# of float32: sums in another order; relative
_TOLERANCE = 1e-4


def compare_candidates(
    name: str,
    reference: Callable[[Float64], Float64],
    inputs: Inputs,
    threads: int,
    rounds: int,
    reduce: Callable[[Losses], float],
    *,
    strength: float = 0.0,
) -> list[Row]:
    """A row for the reference, which composes as the paper does, and for each precision and composition of ours.

    reference: weights (C, N) -> losses (C,), which ours make by `reduce` and strength times mean |w|.
    Raises EdgeLorahubError where losses in float32 differ from the reference's.
    """
    task, modules = read_examples(inputs.examples), Modules.load(inputs.modules)
    everyone: dict[tuple[str, str], Callable[[Float64], Float64]] = {(name, "paper"): reference}
    for precision, bundle in inputs.bundles.items():
        for composition in ("paper", "exact"):
            everyone[f"edge-lorahub {precision}", composition] = evaluator(
                bundle, modules, task, composition, threads, reduce, strength=strength
            ).losses
    # as far from 0 as CMA-ES begins
    populations = np.random.default_rng(0).normal(0, 0.075, (rounds + 1, POPULATION, len(inputs.modules)))
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in everyone}
    losses: dict[tuple[str, str], list[Float64]] = {key: [] for key in everyone}
    for turn, population in enumerate(populations):
        for key, evaluate in everyone.items():
            start = time.perf_counter()
            losses[key].append(evaluate(population))
            if turn:  # the first is for warming up
                seconds[key].append((time.perf_counter() - start) / POPULATION)
    truth = np.concatenate(losses[name, "paper"])
    float32 = "edge-lorahub fp32"
    ours = np.concatenate(losses[float32, "paper"])
    error = float(np.abs(ours / truth - 1).max())
    if not error <= _TOLERANCE:  # nor if it is not a number
        raise EdgeLorahubError(f"the losses differ from the reference's by {error:.1e}, so there is nothing to time")
    rows = []
    for (who, composition), found in seconds.items():
        off = np.abs(np.concatenate(losses[who, composition]) / truth - 1).max()
        # random models' losses lie close together, so int8 keeps their order less well than a trained one's
        both = [np.concatenate(losses[each, composition]) for each in (float32, who)] if who != name else []
        order = Agreement(np.array(both)).rank_correlation if both else 1.0
        ratio = np.median(np.array(seconds[name, "paper"]) / np.array(found))
        rows.append(
            {
                "who": who,
                "composition": composition,
                "median, ms": median_ms(found),
                "least, ms": round(min(found) * 1e3, 3),
                "reference / it": round(float(ratio), 2),
                "ratio of the least": round(min(seconds[name, "paper"]) / min(found), 2),
                "loss off by": f"{off:.1e}" if composition == "paper" else "-",
                "order as in fp32": round(order, 3),
            }
        )
    return rows
