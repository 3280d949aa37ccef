"""CMA-ES against another implementation of the same tutorial, and its known properties."""

from __future__ import annotations

import numpy as np
import pytest

from edge_lorahub.search.cma_es import CmaEs


def ellipsoid(points: np.ndarray, condition: float = 1e4) -> np.ndarray:
    """A quadratic function whose axes differ by sqrt(condition), turned so that none is a coordinate's."""
    n = points.shape[1]
    turn, _ = np.linalg.qr(np.random.RandomState(0).randn(n, n))
    scales = condition ** np.linspace(0, 1, n) if n > 1 else np.ones(1)
    result: np.ndarray = (scales * ((points - 0.3) @ turn) ** 2).sum(axis=1)
    return result


def make(dimension: int, population: int = 6, seed: int = 1, bound: float = 1.5) -> CmaEs:
    return CmaEs(dimension, population=population, step_size=0.075, bound=bound, seed=seed)


@pytest.mark.oracle
@pytest.mark.parametrize(("dimension", "population"), [(2, 4), (5, 6), (20, 6), (20, 13), (60, 24)])
def test_it_learns_as_cmaes_does(dimension: int, population: int) -> None:
    """The package cmaes with the weights of its active update set to zero, told of the same candidates."""
    cmaes = pytest.importorskip("cmaes")
    theirs = cmaes.CMA(np.zeros(dimension), 0.075, population_size=population)
    theirs._weights[population // 2 :] = 0
    ours = make(dimension, population)
    for _ in range(40):
        candidates = ours.ask()
        losses = ellipsoid(candidates)
        ours.tell(candidates, losses)
        theirs.tell(list(zip(candidates, losses.tolist(), strict=True)))
        np.testing.assert_allclose(ours.mean, theirs._mean, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ours.step_size, theirs._sigma, rtol=1e-6)
        np.testing.assert_allclose(ours.step_path, theirs._p_sigma, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(ours.covariance_path, theirs._pc, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(ours.covariance, theirs._C, rtol=1e-5, atol=1e-7)
        # it is asked for nothing, but decomposes the covariance only then
        theirs._eigen_decomposition()


@pytest.mark.parametrize("dimension", [1, 2, 5, 10])
def test_it_learns_the_axes_of_an_ellipsoid(dimension: int) -> None:
    """Without the covariance a condition of 10^4 takes tens of thousands of candidates."""
    search = make(dimension, 10)
    for _ in range(60 * dimension + 60):
        candidates = search.ask()
        losses = ellipsoid(candidates)
        search.tell(candidates, losses)
    assert ellipsoid(search.mean[None])[0] < 1e-8


def test_candidates_are_normal_with_the_step_size() -> None:
    candidates = make(7, 20000).ask()
    np.testing.assert_allclose(np.cov(candidates.T), 0.075**2 * np.eye(7), atol=2e-4)
    np.testing.assert_allclose(candidates.mean(axis=0), 0, atol=2e-3)


def test_only_the_ranks_of_the_parents_matter() -> None:
    plain, other = make(8, 7), make(8, 7)
    assert plain.parents == 3
    for _ in range(10):
        candidates = plain.ask()
        np.testing.assert_array_equal(other.ask(), candidates)
        losses = ellipsoid(candidates)
        plain.tell(candidates, losses)
        told = np.log(losses)
        told[np.argsort(losses)[3:]] = np.inf
        other.tell(candidates, told)
    assert plain.mean.tobytes() == other.mean.tobytes()


def test_seeds_differ() -> None:
    assert make(5, seed=1).ask().tobytes() == make(5, seed=1).ask().tobytes()
    assert make(5, seed=1).ask().tobytes() != make(5, seed=2).ask().tobytes()


def test_what_is_outside_is_reflected() -> None:
    near, far = make(4, 500, bound=100.0).ask(), make(4, 500, bound=0.1).ask()
    assert np.abs(far).max() <= 0.1
    inside = np.abs(near) <= 0.1
    np.testing.assert_allclose(far[inside], near[inside], atol=1e-12)
    above = (near > 0.1) & (near < 0.3)
    assert above.any()
    np.testing.assert_allclose(far[above], 0.2 - near[above], atol=1e-12)


@pytest.mark.parametrize("dimension", [1, 5])
def test_it_may_go_on_after_it_has_converged(dimension: int) -> None:
    search = make(dimension)
    for _ in range(12000):
        candidates = search.ask()
        search.tell(candidates, ellipsoid(candidates))
    assert np.isfinite(candidates).all()
    np.testing.assert_allclose(candidates, 0.3, atol=1e-6)


def test_losses_that_are_all_the_same_do_no_harm() -> None:
    search = make(12)
    for _ in range(300):
        search.tell(search.ask(), np.zeros(6))
    assert np.isfinite(search.ask()).all()
