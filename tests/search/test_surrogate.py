"""The surrogate of label logits, its minimum, and what is kept of logits for it: against formulas and other code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_lorahub.label_logits import joined, scored
from edge_lorahub.search import surrogate as surrogate_file
from edge_lorahub.search.compaction import TOKENS, Compaction
from edge_lorahub.search.newton import Penalty, minimize
from edge_lorahub.search.surrogate import Labels, Surrogate, reaches

POSITIONS, KEPT, MODULES = 7, 5, 4
COUNTS = np.array([3.0, 4.0])  # label tokens of two examples


def fitted(seed: int, evaluations: int = 9, modules: int = MODULES) -> Surrogate:
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.zeros(modules), rng.uniform(-1, 1, (evaluations - 1, modules))])
    return Surrogate(weights, 2 * rng.standard_normal((evaluations, POSITIONS, KEPT)), rng.uniform(0.5, 1.5, modules))


def loss_by_hand(logits: np.ndarray) -> float:
    """The mean over examples of their mean cross-entropy, the label in column 0."""
    each = -logits[:, 0] + np.log(np.exp(logits).sum(axis=1))
    return float((each[:3].mean() + each[3:].mean()) / 2)


def test_it_goes_through_what_was_seen() -> None:
    rng = np.random.default_rng(0)
    weights = np.vstack([np.zeros(3), 0.8 * np.eye(3), rng.uniform(-1, 1, (4, 3))])
    logits = rng.standard_normal((8, POSITIONS, KEPT))
    model = Surrogate(weights, logits, np.ones(3))
    for w, seen in zip(weights, logits, strict=True):
        np.testing.assert_allclose(model.logits(w), seen, rtol=0, atol=0.01)  # but for the noise it assumes


def test_linear_logits_are_learned_from_one_probe_a_module() -> None:
    rng = np.random.default_rng(1)
    slopes = rng.standard_normal((3, POSITIONS, KEPT))
    weights = np.vstack([np.zeros(3), 0.8 * np.eye(3)])
    model = Surrogate(weights, np.einsum("nm,mtk->ntk", weights, slopes), np.ones(3))
    w = np.array([0.3, 0.2, -0.1])
    expected = np.einsum("m,mtk->tk", w, slopes)
    assert np.abs(model.logits(w) - expected).max() < 0.25 * np.abs(expected).max()


def test_the_loss_and_its_gradient() -> None:
    model, labels = fitted(2), Labels.of(COUNTS)
    w = np.array([0.2, -0.5, 0.1, 0.7])
    loss, by_logits = model.loss(w, labels)
    assert loss == pytest.approx(loss_by_hand(model.logits(w)), rel=1e-12)
    assert model.position_losses(w) @ labels.weights == pytest.approx(loss, rel=1e-12)
    step = 1e-6
    numeric = [(model.loss(w + d, labels)[0] - model.loss(w - d, labels)[0]) / (2 * step) for d in step * np.eye(4)]
    np.testing.assert_allclose(model.gradient(w, by_logits), numeric, rtol=1e-6, atol=1e-8)


def test_the_curvature_is_the_hessian_of_linear_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gauss and Newton's matrix leaves out the logits' own curvature; where they have none it is the Hessian."""
    monkeypatch.setattr(surrogate_file, "HEIGHT", 0.0)
    model, labels = fitted(3), Labels.of(COUNTS)
    w = np.array([0.2, -0.5, 0.1, 0.7])

    def gradient(at: np.ndarray) -> np.ndarray:
        return model.gradient(at, model.loss(at, labels)[1])

    step = 1e-5
    numeric = np.array([(gradient(w + d) - gradient(w - d)) / (2 * step) for d in step * np.eye(4)])
    found = model.curvature(w, model.loss(w, labels)[1], labels, np.arange(4))
    np.testing.assert_allclose(found, numeric, rtol=1e-5, atol=1e-7)
    some = np.array([1, 3])
    np.testing.assert_allclose(
        model.curvature(w, model.loss(w, labels)[1], labels, some), found[np.ix_(some, some)], atol=1e-12
    )


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.05, 0.4, 3.0]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_minimum_is_one_that_scipy_hardly_lowers(seed: int, strength: float, centered: bool) -> None:
    """SciPy's L-BFGS-B goes on from it, with a weight's two sides as variables of their own: the penalty is smooth so.

    Of logits that do not bend, whose cross-entropy has one minimum.
    """
    rng = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surrogate_file, "HEIGHT", 0.0)
        _compare_with_scipy(rng, fitted(seed), strength, centered)


def _compare_with_scipy(rng: np.random.Generator, model: Surrogate, strength: float, centered: bool) -> None:
    from scipy.optimize import minimize as scipy_minimize

    labels = Labels.of(COUNTS)
    penalty = Penalty(strength, np.zeros(MODULES) if centered else rng.uniform(-0.3, 0.3, MODULES))
    bounds = np.full(MODULES, -0.6), np.full(MODULES, 0.6)
    start = rng.uniform(-0.5, 0.5, MODULES)
    w, value = minimize(model, labels, penalty, start, *bounds)
    assert value == pytest.approx(model.loss(w, labels)[0] + penalty(w), rel=1e-9)
    assert value <= model.loss(start, labels)[0] + penalty(start)
    assert (np.abs(w) <= 0.6).all()

    def smooth(sides: np.ndarray) -> tuple[float, np.ndarray]:
        at = penalty.center + sides[:MODULES] - sides[MODULES:]
        loss, by_logits = model.loss(at, labels)
        slope = model.gradient(at, by_logits)
        return loss + penalty.slope * sides.sum(), np.concatenate([slope, -slope]) + penalty.slope

    offset = w - penalty.center
    most = np.concatenate([0.6 - penalty.center, 0.6 + penalty.center])
    again = scipy_minimize(
        smooth, np.concatenate([np.maximum(offset, 0), np.maximum(-offset, 0)]), jac=True, method="L-BFGS-B",
        bounds=[(0, limit) for limit in most],
    )  # fmt: skip
    assert value <= 1.001 * again.fun


def test_modules_that_do_nothing_get_no_weight() -> None:
    rng = np.random.default_rng(5)
    weights = np.vstack([np.zeros(4), 0.8 * np.eye(4)])
    effect = rng.standard_normal((4, POSITIONS, KEPT))
    effect[[1, 3]] = 0
    effect[0, :, 0] += 4  # raises the labels
    logits = np.einsum("nm,mtk->ntk", weights, effect)
    reach = reaches(weights, logits)
    assert reach[1] == reach[3] == 0
    model = Surrogate(weights, logits, reach)
    start = np.array([0.1, 0.2, 0.0, -0.3])
    w, _ = minimize(model, Labels.of(COUNTS), Penalty(0.2, np.zeros(4)), start, np.full(4, -0.8), np.full(4, 0.8))
    assert w[0] > 0.3
    assert w[1] == w[3] == 0


def test_the_reach_of_a_module_is_the_root_of_how_far_it_moves_the_logits() -> None:
    """Four times as far is twice the reach; the same push on all tokens of a position is none; untried is 1."""
    rng = np.random.default_rng(7)
    push = rng.standard_normal((POSITIONS, KEPT))
    weights = np.vstack([np.zeros(4), np.diag([1e-3, 4e-3, 1e-3, 0])[:3]])
    logits = np.zeros((4, POSITIONS, KEPT))
    logits[1], logits[2], logits[3] = 1e-3 * push, 16e-3 * push, 5.0
    found = reaches(weights, logits)
    assert found[1] == pytest.approx(2 * found[0], rel=1e-2)
    assert found[2] == pytest.approx(0, abs=1e-6)
    assert found[3] == 1


def test_labels_without_an_example_are_the_mean_over_the_others() -> None:
    model, w = fitted(6), np.array([0.2, -0.5, 0.1, 0.7])
    each = model.position_losses(w)
    assert model.loss(w, Labels.of(COUNTS).without(0))[0] == pytest.approx(each[3:].mean(), rel=1e-12)


def random_logits(vocabulary: int, positions: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (4 * rng.standard_normal((positions, vocabulary))).astype(np.float32), rng.integers(0, vocabulary, positions)


@pytest.mark.parametrize("vocabulary", [5, 40, 3000])
@pytest.mark.parametrize("keep", [1, 16, 128])
def test_what_is_kept_of_logits_has_their_cross_entropy(vocabulary: int, keep: int) -> None:
    logits, labels = random_logits(vocabulary, 6, vocabulary)
    plain, nothing = scored(logits.copy(), labels)
    loss, kept = scored(logits.copy(), labels, keep)
    assert nothing is None
    assert kept is not None
    assert loss == plain  # to the last bit: a candidate's loss must not depend on who asks
    assert kept.tokens.shape == (6, min(keep, vocabulary))
    np.testing.assert_array_equal(kept.tokens[:, 0], labels)
    np.testing.assert_array_equal(kept.logits, np.take_along_axis(logits, kept.tokens, axis=1))
    for tokens, row in zip(kept.tokens, logits, strict=True):
        assert len(set(tokens.tolist())) == len(tokens)
        others = np.delete(row, tokens)
        if len(others) and len(tokens) > 1:
            assert others.max() <= np.sort(row[tokens])[1]  # but for the label, which may be unlikely
    together = np.column_stack([kept.logits.astype(np.float64), kept.rest])
    again = -kept.logits[:, 0] + np.logaddexp.reduce(together, axis=1)
    assert again.sum() == pytest.approx(loss, rel=1e-5)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 700), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_likeliest_tokens_are_those_of_a_sort(seed: int, keep: int, vocabulary: int, ties: bool) -> None:
    """In every size, with equal logits and with infinite ones; the label is among them whatever its logit."""
    logits, labels = random_logits(vocabulary, 3, seed)
    if ties:
        logits = np.round(logits / 4)
    logits[0, ::3] = -np.inf
    logits[0, labels[0]] = 1.0
    _, kept = scored(logits.copy(), labels, keep)
    assert kept is not None
    for row, label, tokens, found in zip(logits, labels, kept.tokens, kept.logits, strict=True):
        assert tokens[0] == label
        assert len(set(tokens.tolist())) == len(tokens) == min(keep, vocabulary)
        np.testing.assert_array_equal(found, row[tokens])
        others = np.sort(np.delete(row, label))[::-1]
        np.testing.assert_array_equal(np.sort(found[1:])[::-1], others[: len(tokens) - 1])


def test_logits_that_are_no_numbers_have_a_loss_that_is_none() -> None:
    for where in (slice(None), slice(100, 101), slice(0, 3000, 7)):
        logits, labels = random_logits(3000, 2, 0)
        logits[1, where] = np.nan
        loss, kept = scored(logits, labels, 128)
        assert np.isnan(loss)
        assert kept is not None
        assert kept.tokens.shape == (2, 128)


def test_logits_far_below_the_largest_cost_nothing_and_add_nothing() -> None:
    """Of models with random weights nearly all are; math.fsum has what their exponentials add up to."""
    logits, labels = random_logits(3000, 4, 1)
    logits *= 40
    exact = 0.0
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        exact += math.log(math.fsum(np.exp(row - row.max()))) + row.max() - row[label]
    assert scored(logits, labels)[0] == pytest.approx(exact, rel=1e-6)


def test_the_tokens_that_are_modeled_are_the_likeliest_of_any_evaluation() -> None:
    compaction, all_logits = Compaction(), []
    labels = np.arange(POSITIONS)
    for seed in range(5):
        logits, _ = random_logits(100, POSITIONS, seed)
        all_logits.append(logits)
        _, kept = scored(logits.copy(), labels, 128)
        assert kept is not None
        compaction.add(kept)
    rows, seen = compaction.rows(), np.array(all_logits, np.float64)  # (n, T, V)
    shares = np.exp(seen - np.logaddexp.reduce(seen, axis=2, keepdims=True)).max(axis=0)
    shares[labels, labels] = 2
    expected = np.argsort(-shares, axis=1)[:, :TOKENS]
    np.testing.assert_array_equal(rows[:, :, 0], seen[:, labels, labels])
    np.testing.assert_array_equal(
        np.sort(rows[:, :, :-1], axis=2), np.sort(np.take_along_axis(seen, expected[None], axis=2), axis=2)
    )


def test_compact_logits_have_the_cross_entropy_of_all() -> None:
    """With a vocabulary that is kept whole; otherwise a token that an evaluation lacks is only bounded."""
    compaction, losses = Compaction(), []
    for seed in range(6):
        logits, _ = random_logits(100, POSITIONS, seed)
        loss, kept = scored(logits, np.arange(POSITIONS), 128)
        assert kept is not None
        compaction.add(joined([kept]))
        losses.append(loss)
    rows = compaction.rows()
    assert rows.shape == (6, POSITIONS, TOKENS + 1)
    for row, loss in zip(rows, losses, strict=True):
        assert (-row[:, 0] + np.logaddexp.reduce(row, axis=1)).sum() == pytest.approx(loss, rel=1e-5)


def test_a_label_far_below_the_largest_keeps_its_logit() -> None:
    """Of a model that is far off, a label's loss may be more than a hundred nats; the surrogate must see it fall."""
    compaction, losses = Compaction(), []
    labels = np.arange(POSITIONS)
    for below in (150.0, 140.0, 70.0):
        logits, _ = random_logits(3000, POSITIONS, 0)
        logits[labels, labels] = logits.max(axis=1) - np.float32(below)
        loss, kept = scored(logits, labels, 128)
        assert kept is not None
        compaction.add(kept)
        losses.append(loss)
    for row, loss in zip(compaction.rows(), losses, strict=True):
        assert (-row[:, 0] + np.logaddexp.reduce(row, axis=1)).sum() == pytest.approx(loss, rel=1e-5)


def test_a_token_that_comes_up_later_is_modeled_too() -> None:
    """What the first evaluations have at 1e-9 and a later one at 0.9 must be told from the crowd."""
    compaction = Compaction()
    for late in (False, False, True):
        logits = np.zeros((1, 500), np.float32)
        logits[0, :40] = 8 - 0.1 * np.arange(40)
        logits[0, 200] = 15.0 if late else -12.0
        _, kept = scored(logits, np.array([3]), 128)
        assert kept is not None
        compaction.add(kept)
        rows = compaction.rows()
    assert (rows[-1][0] == 15.0).any()
    assert np.exp(rows[-1][0, -1] - np.logaddexp.reduce(rows[-1][0])) < 0.1


def test_a_vocabulary_smaller_than_what_is_kept() -> None:
    compaction = Compaction()
    for seed in range(3):
        logits, _ = random_logits(6, 4, seed)
        loss, kept = scored(logits, np.full(4, 2), 128)
        assert kept is not None
        compaction.add(kept)
        row = compaction.rows()[-1]
        assert np.isfinite(row).all()
        assert (-row[:, 0] + np.logaddexp.reduce(row, axis=1)).sum() == pytest.approx(loss, rel=1e-5)
