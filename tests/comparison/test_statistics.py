"""Differences and their intervals, against hand-made cases, an exact enumeration and SciPy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from edge_lorahub.comparison.bootstrap import Interval, difference
from edge_lorahub.comparison.observed import Gains, gains


def of_pairs(mine: np.ndarray, theirs: np.ndarray) -> Gains:
    return Gains(mine.astype(float) - theirs, np.ones(len(mine)))


def test_a_difference_is_of_pairs() -> None:
    rng = np.random.default_rng(0)
    tasks = [rng.random(100) < share for share in (0.2, 0.5, 0.9)]
    assert difference([of_pairs(task, task) for task in tasks]) == Interval(0.0, 0.0, 0.0)
    none, every = np.zeros(40, bool), np.ones(40, bool)
    assert difference([of_pairs(every, none)] * 3) == Interval(100.0, 100.0, 100.0)
    found = difference([of_pairs(~task, task) for task in tasks])
    assert found.low < found.points < found.high


def test_tasks_count_alike_and_are_drawn_too() -> None:
    """One task of three that is won whole: a third of the points, and drawn never or always, all of the range."""
    zeros = [np.zeros(count, bool) for count in (10, 200, 10)]
    ours = [np.ones(10, bool), *zeros[1:]]
    found = difference([of_pairs(*pair) for pair in zip(ours, zeros, strict=True)])
    assert found.points == pytest.approx(100 / 3)
    assert found.low == 0
    assert found.high == pytest.approx(100)


def test_an_interval_is_that_of_all_resamples_of_a_small_case() -> None:
    """Two tasks of three inputs: every resample of tasks and inputs, with its probability."""
    tasks = [np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, -1.0])]
    means = [[task[list(places)].mean() for places in product(range(3), repeat=3)] for task in tasks]
    # a task that is drawn twice has the same inputs both times: its inputs are drawn once a resample
    totals, chances = [], []
    for first, second in product(means[0], means[1]):
        for drawn in ((first, first), (first, second), (second, first), (second, second)):
            totals.append(np.mean(drawn))
            chances.append(1 / (27 * 27 * 4))
    order = np.argsort(totals)
    summed = np.cumsum(np.array(chances)[order])
    low, high = (100 * np.array(totals)[order][np.searchsorted(summed, level)] for level in (0.025, 0.975))
    found = difference([Gains(task, np.ones(3)) for task in tasks])
    assert found.points == pytest.approx(100 / 3)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_of_one_task_it_is_scipys_percentile_interval() -> None:
    rng = np.random.default_rng(3)
    gain = rng.choice([-1.0, 0.0, 1.0], p=[0.2, 0.3, 0.5], size=150)
    wanted = stats.bootstrap((gain,), np.mean, method="percentile", n_resamples=20_000, random_state=1)
    found = difference([Gains(gain, np.ones(150))])
    assert found.points == pytest.approx(100 * gain.mean())
    assert found.low == pytest.approx(100 * wanted.confidence_interval.low, abs=0.8)
    assert found.high == pytest.approx(100 * wanted.confidence_interval.high, abs=0.8)


def test_seeds_of_an_input_stay_together() -> None:
    """An input that is won under all seeds is one input: the interval is that of ten inputs, not of fifty answers."""
    texts = [f"input {number}" for number in range(10)]
    won = [float(number < 5) for number in range(10)]
    together = gains([texts] * 5, [won] * 5, [[0.0] * 10] * 5)
    alone = gains([texts], [won], [[0.0] * 10])
    one, other = difference([together]), difference([alone])
    assert (one.points, one.low, one.high) == pytest.approx((other.points, other.low, other.high))
    assert one.high - one.low > 50


def test_the_gain_is_the_mean_over_seeds_however_many_inputs_each_has() -> None:
    found = gains([["a", "b"], ["b", "c", "d", "e"]], [[1, 1], [0, 0, 0, 0]], [[0, 0], [0, 0, 0, 1]])
    assert found.mean == pytest.approx((1.0 - 0.25) / 2)
    assert found.weights.sum() == pytest.approx(2)
    assert len(found.sums) == 5


def test_many_inputs_are_drawn_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    tasks = [Gains(rng.standard_normal(77), np.ones(77)) for _ in range(3)]
    whole = difference(tasks)
    monkeypatch.setattr("edge_lorahub.comparison.bootstrap._AT_ONCE", 1000)
    assert difference(tasks) == whole


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        (Interval(5, 1, 9), "better"),
        (Interval(-5, -9, -1), "worse"),
        (Interval(5, 0, 9), "not distinguishable"),
        (Interval(0, 0, 0), "not distinguishable"),
    ],
)
def test_an_interval_says_on_which_side_of_zero_it_lies(interval: Interval, says: str) -> None:
    assert interval.says == says
