"""The merge kernels against their formulas, written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lorahub.composition.kernels import compose_exact, compose_paper, merge_dense, truncate


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def test_paper_is_the_weighted_sum_of_rows_in_place() -> None:
    stack, weights, out = draw(0, 7, 300), draw(1, 7), np.full(300, np.nan, np.float32)
    address = out.ctypes.data
    compose_paper(weights, stack, out)
    assert out.ctypes.data == address
    expected = sum(w * row for w, row in zip(weights.astype(float), stack.astype(float), strict=True))
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_paper_composes_a_population_as_its_members() -> None:
    stack, population, out = draw(0, 5, 200), draw(1, 4, 5), np.empty((4, 200), np.float32)
    compose_paper(population, stack, out)
    one = np.empty(200, np.float32)
    for weights, row in zip(population, out, strict=True):
        compose_paper(weights, stack, one)
        np.testing.assert_allclose(row, one, atol=1e-5)


def test_exact_repeats_each_weight_over_its_columns() -> None:
    owners = np.array([0, 0, 1, 2, 2, 2])
    out = np.empty(6, np.float32)
    compose_exact(np.array([0.5, -1.5, 2], np.float32), owners, out)
    assert out.tolist() == [0.5, 0.5, -1.5, 2, 2, 2]
    many = np.empty((2, 6), np.float32)
    compose_exact(np.array([[1, 2, 3], [4, 5, 6]], np.float32), owners, many)
    assert many.tolist() == [[1, 1, 2, 3, 3, 3], [4, 4, 5, 6, 6, 6]]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 1500), st.integers(1, 40), st.integers(0, 12), st.integers(0, 100))
def test_dense_merge_adds_the_product_in_place(d_in: int, d_out: int, rank: int, seed: int) -> None:
    weight, a, scale, b = (
        draw(seed, d_in, d_out),
        draw(seed + 1, d_in, rank),
        draw(seed + 2, rank),
        draw(3, rank, d_out),
    )
    expected = weight.astype(float) + (a.astype(float) * scale) @ b
    address = weight.ctypes.data
    merge_dense(weight, a, scale, b)
    assert weight.ctypes.data == address
    np.testing.assert_allclose(weight, expected, atol=1e-4)


def test_dense_merge_works_in_blocks() -> None:
    """A weight of several blocks, the last of them partly filled."""
    weight, a, scale, b = draw(0, 1030, 1024), draw(1, 1030, 4), draw(2, 4), draw(3, 4, 1024)
    expected = weight.astype(float) + (a.astype(float) * scale) @ b
    merge_dense(weight, a, scale, b)
    np.testing.assert_allclose(weight, expected, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 3, 6, 50])
def test_truncation_is_the_svd_of_the_product(rank: int) -> None:
    a, b = draw(0, 20, 6), draw(1, 6, 15)
    small_a, small_b, dropped, whole = truncate(a, b, rank)
    u, sigma, vt = np.linalg.svd(a.astype(float) @ b)
    kept = min(rank, 6)
    assert small_a.shape == (20, kept)
    np.testing.assert_allclose(small_a @ small_b, (u[:, :kept] * sigma[:kept]) @ vt[:kept], atol=1e-4)
    assert whole == pytest.approx((sigma**2).sum(), rel=1e-6)
    assert dropped == pytest.approx((sigma[kept:] ** 2).sum(), abs=1e-6 * whole)


def test_truncation_of_more_columns_than_rows() -> None:
    """Twenty modules of rank 16 on a narrow layer: R is larger than d_in."""
    a, b = draw(0, 5, 40), draw(1, 40, 7)
    small_a, small_b, dropped, _ = truncate(a, b, 5)
    np.testing.assert_allclose(small_a @ small_b, a @ b, atol=1e-3)
    assert dropped == pytest.approx(0, abs=1e-6)
