"""Racing: a candidate that can no longer matter is not evaluated to the end. Knows no model and no files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

# (candidate, batch)
Unit = tuple[int, int]


def race(
    candidates: int, batches: int, keep: int, run: Callable[[Sequence[Unit]], None], bound: Callable[[int], float]
) -> list[int]:
    """Evaluates until the `keep` least losses are known; the candidates that were evaluated to the end, in order.

    run evaluates units, which do not depend on each other. bound(candidate) is what its loss is at least, from
    the batches run so far, and the loss itself after the last. The lowest bounds go on first, so that a loss to
    beat is found early. One that is stopped has a loss above the `keep` least, so whoever asks for those alone
    cannot tell. What is run does not depend on who finishes first.
    """
    done = [1] * candidates
    run([(candidate, 0) for candidate in range(candidates)])
    while True:
        complete = [candidate for candidate in range(candidates) if done[candidate] == batches]
        losses = sorted(map(bound, complete))
        enough = losses[keep - 1] if len(losses) >= keep else np.inf
        going = [c for c in range(candidates) if done[c] < batches and bound(c) <= enough]
        if not going:
            return complete
        # several at a time, for several workers; a number of their own choosing would make the trace depend on it
        lowest = sorted(sorted(going, key=bound)[: keep + 1])
        run([(candidate, done[candidate]) for candidate in lowest])
        for candidate in lowest:
            done[candidate] += 1
