"""Racing, against evaluating everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_lorahub.search.racing import Unit, race

# few different values, so that ties come up
PARTS = arrays(
    np.float64,
    st.tuples(st.integers(1, 8), st.integers(1, 5)),
    elements=st.sampled_from([0.0, 0.5, 1.0, 1.5, 3.0, 1e20]),
)


def run_race(parts: np.ndarray, keep: int) -> tuple[list[int], list[Unit]]:
    known = np.zeros_like(parts)
    units: list[Unit] = []

    def run(asked: Sequence[Unit]) -> None:
        for candidate, batch in asked:
            known[candidate, batch] = parts[candidate, batch]
            units.append((candidate, batch))

    return race(*parts.shape, keep, run, lambda candidate: float(known[candidate].sum())), units


@given(PARTS, st.data())
def test_the_least_losses_are_complete_and_the_rest_above_them(parts: np.ndarray, data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, len(parts)))
    complete, units = run_race(parts, keep)
    assert len(units) == len(set(units))
    assert complete == [c for c in range(len(parts)) if all((c, b) in units for b in range(parts.shape[1]))]
    losses = parts.sum(axis=1)
    enough = np.sort(losses)[keep - 1]
    assert {c for c, loss in enumerate(losses) if loss <= enough} <= set(complete)


def test_what_cannot_matter_is_stopped() -> None:
    parts = np.array([[1.0, 1, 1], [9, 1, 1], [1, 9, 1], [2, 0.5, 0], [1, 0, 0.5]])
    complete, units = run_race(parts, 2)
    # 3 is among the best though it began badly, 2 is not though it began well; 1 could be told at once
    assert complete == [0, 3, 4]
    assert [unit for unit in units if unit[0] == 1] == [(1, 0)]
    assert (2, 2) not in units


def test_one_batch_is_evaluated_whole() -> None:
    complete, units = run_race(np.array([[3.0], [1.0], [2.0]]), 1)
    assert sorted(units) == [(0, 0), (1, 0), (2, 0)]
    assert 1 in complete
