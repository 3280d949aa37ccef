"""The integer merge kernel: its digits against their definition, its sums against NumPy's in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_lorahub.composition import kernels_int8 as compose_int8
from edge_lorahub.composition.kernels_int8 import ZERO, compose_paper_int8, digits
from edge_lorahub.export.kernel_graph import compose_graph


def read(values: np.ndarray, joins: np.ndarray) -> np.ndarray:
    """The weights that digits stand for."""
    return joins.astype(float) @ (values.astype(float) - ZERO)


@settings(deadline=None, max_examples=200)
@given(arrays(np.float64, (3, 5), elements=st.floats(-1e6, 1e6, allow_subnormal=False)))
def test_digits_are_the_weights_to_14_bits(weights: np.ndarray) -> None:
    values, joins = digits(weights)
    assert values.dtype == np.uint8
    assert (values.shape, joins.shape) == ((6, 5), (3, 6))
    # two products with int8 of the largest magnitude, 127, must fit into 16 bits
    assert 2 * 127 * int(values.max(initial=0)) < 1 << 15
    largest = np.abs(weights).max(axis=1, keepdims=True)
    # 1e-37: what joins them is float32
    assert (np.abs(read(values, joins) - weights) <= largest / 16384 * 1.001 + 1e-37).all()


def test_zero_and_the_largest_weight_are_exact() -> None:
    weights = np.array([[0.0, 1.5, -1.5], [0.0, 0.0, 0.0], [0.0, 0.0, -0.25]])
    np.testing.assert_array_equal(read(*digits(weights)), weights)


def test_a_candidates_digits_do_not_depend_on_the_others() -> None:
    weights = np.random.default_rng(0).normal(size=(4, 7)) * [[1], [1000], [1e-3], [1]]
    whole = read(*digits(weights))
    for row, expected in zip(weights, whole, strict=True):
        np.testing.assert_array_equal(read(*digits(row[None]))[0], expected)


@pytest.mark.parametrize("count", [1, 2, 20, 201])
@pytest.mark.parametrize("candidates", [1, 6, 33])
def test_sums_are_those_of_float64(count: int, candidates: int) -> None:
    rng = np.random.default_rng(count)
    modules = rng.integers(-127, 128, (count, 333)).astype(np.int8)
    weights, joins = digits(rng.uniform(-1.5, 1.5, (candidates, count)))
    scratch = np.empty(candidates * 1000, np.float32)
    for columns in (333, 1):
        out = np.full((candidates, 400), np.nan, np.float32)
        compose_paper_int8(weights, joins, np.ascontiguousarray(modules[:, :columns]), out[:, 7 : 7 + columns], scratch)
        expected = read(weights, joins) @ modules[:, :columns]
        np.testing.assert_allclose(out[:, 7 : 7 + columns], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
        assert np.isnan(out[:, :7]).all()
        assert np.isnan(out[:, 7 + columns :]).all()


def test_the_largest_sums_do_not_saturate() -> None:
    modules = np.full((200, 64), 127, np.int8)
    weights, joins = digits(np.ones((2, 200)) * [[1.5], [-1.5]])
    out = np.empty((2, 64), np.float32)
    compose_paper_int8(weights, joins, modules, out, np.empty(128, np.float32))
    np.testing.assert_array_equal(out, np.array([[38100], [-38100]]) * np.ones(64))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_stays_so(value: float) -> None:
    """So that such a candidate's loss is the worst, and the others' are their own."""
    weights, joins = digits(np.array([[1.0, value, 0.5], [1.0, 1.0, 1.0]]))
    out = np.empty((2, 4), np.float32)
    compose_paper_int8(weights, joins, np.ones((3, 4), np.int8), out, np.empty(8, np.float32))
    assert not np.isfinite(out[0]).any()
    assert out[1].tolist() == [3, 3, 3, 3]


def test_the_package_has_the_graph_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    compose_graph().save(path)
    assert onnx.load(path) == onnx.load(Path(compose_int8.__file__).with_name("compose_int8.onnx"))
