"""How a token is drawn: what is kept, how probable it is, and whose random numbers they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_lorahub import Sampling
from edge_lorahub.errors import BundleError, SettingsError
from edge_lorahub.runtime.sampling import Chooser, Distribution

NAN, INF = float("nan"), float("inf")
LOGITS = st.lists(st.integers(-40, 40), min_size=1, max_size=30).map(lambda found: np.array(found, np.float32) / 8)


def distribution(logits: np.ndarray, said: tuple[int, ...] = (), **fields: Any) -> dict[int, float]:
    """The tokens that may be drawn, and their probabilities."""
    had = np.isin(np.arange(len(logits)), said)
    ids, weights = Distribution(Sampling(**fields), len(logits))(logits.astype(np.float32), had)
    assert ids.tolist() == sorted(ids.tolist())
    return dict(zip(ids.tolist(), (weights / weights.sum()).tolist(), strict=True))


def softmax(logits: np.ndarray, temperature: float = 1) -> np.ndarray:
    logits = logits.astype(np.float64) / temperature
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def drawn(logits: np.ndarray, count: int, seed: int = 1, **fields: Any) -> np.ndarray:
    """The first token of so many texts, all with the same logits."""
    chooser = Chooser(Sampling(seed=seed, **fields), range(1, count + 1), [np.array([], int)] * count, len(logits))
    return chooser(np.tile(logits.astype(np.float32), (count, 1)), np.array([], int), np.ones(count, bool))


@pytest.mark.parametrize(
    ("field", "values", "words"),
    [
        ("temperature", [NAN, INF, -INF, -0.1, "1", None, True, [1.0], 10**400, 1j, np.float32(1)], "a number from 0"),
        ("repetition_penalty", [NAN, INF, 0, -1.2, 1e-4, 1001, None, False, "1.2"], "a number from 0.001 to 1000"),
        ("top_k", [0, -1, 1.0, NAN, True, "5", [5]], "a whole number from 1, or None"),
        ("top_p", [0, -0.5, 1.0001, 90, NAN, INF, True, "0.9"], "a number above 0 and at most 1, or None"),
        ("min_p", [-0.01, 1.01, NAN, INF, True, "0.1"], "a number from 0 to 1, or None"),
        ("seed", [-1, 2**32, 1.0, None, True, NAN, "1"], "a whole number from 0 to 2^32 - 1"),
    ],
)
def test_what_is_out_of_its_range_is_named(field: str, values: list[Any], words: str) -> None:
    for value in values:
        with pytest.raises(SettingsError) as caught:
            Sampling(**{field: value})
        assert str(caught.value) == f"{field} must be {words}, got {value!r:.80}"


def test_the_ends_of_the_ranges_are_taken() -> None:
    for fields in (
        {"temperature": 0}, {"temperature": 1e308}, {"temperature": 5e-324}, {"top_k": 10**30}, {"top_p": 1},
        {"top_p": 5e-324}, {"min_p": 0}, {"min_p": 1}, {"seed": 2**32 - 1}, {"repetition_penalty": 1000},
    ):  # fmt: skip
        assert drawn(np.arange(5) - 2, 3, **{"seed": 1} | fields).shape == (3,)


@given(LOGITS, st.floats(0.05, 20))
def test_without_limits_it_is_the_softmax_of_logits_by_temperature(logits: np.ndarray, temperature: float) -> None:
    found = distribution(logits, temperature=temperature)
    np.testing.assert_allclose([*found.values()], softmax(logits, temperature), atol=1e-12)


@given(LOGITS, st.integers(1, 40))
def test_top_k_keeps_the_largest_and_their_equals(logits: np.ndarray, top_k: int) -> None:
    least = sorted(logits)[-min(top_k, len(logits))]
    assert [*distribution(logits, top_k=top_k)] == np.flatnonzero(logits >= least).tolist()


@given(LOGITS, st.floats(0.01, 1))
def test_top_p_keeps_the_fewest_that_sum_up_to_it(logits: np.ndarray, top_p: float) -> None:
    probabilities = softmax(logits)
    kept = [*distribution(logits, top_p=top_p)]
    total = probabilities[kept].sum()
    assert total >= top_p - 1e-9
    assert total - probabilities[kept].min() < top_p + 1e-9 or len(kept) == 1
    left = np.delete(probabilities, kept)
    assert not len(left) or left.max() <= probabilities[kept].min()


@given(LOGITS, st.floats(0, 1))
def test_min_p_keeps_a_share_of_the_largest(logits: np.ndarray, min_p: float) -> None:
    shares = np.exp((logits - logits.max()).astype(np.float64))
    assert [*distribution(logits, min_p=min_p)] == np.flatnonzero(shares >= min_p).tolist()


@given(LOGITS, st.floats(0.2, 3), st.integers(1, 20), st.floats(0.1, 1), st.floats(0, 0.9))
def test_one_limit_after_the_other(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    """Each looks at what the one before left, with its probabilities summing up to 1 again."""
    found = distribution(logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    expected = np.array([*range(len(logits))])
    for fields in ({"top_k": top_k}, {"temperature": temperature, "top_p": top_p}, {"temperature": temperature,
                   "min_p": min_p}):  # fmt: skip
        expected = expected[[*distribution(logits[expected], **fields)]]
    assert [*found] == expected.tolist()
    np.testing.assert_allclose([*found.values()], softmax(logits[expected], temperature), atol=1e-12)


def test_of_equal_tokens_top_p_keeps_as_many_as_it_needs() -> None:
    assert [*distribution(np.zeros(8), top_p=0.5)] == [4, 5, 6, 7]  # the last, as transformers
    assert [*distribution(np.array([3, 0, 0, 0, 0.0]), top_p=0.9)] == [0, 3, 4]


def test_a_repetition_penalty_divides_what_is_positive_and_multiplies_what_is_negative() -> None:
    logits = np.array([2.0, -1, 0, 3, -4])
    found = distribution(logits, said=(0, 1, 2), repetition_penalty=2.0)
    np.testing.assert_allclose([*found.values()], softmax(np.array([1.0, -2, 0, 3, -4])), atol=1e-12)


def test_a_token_counts_as_said_once_it_was_chosen() -> None:
    """From the next step on; the logits that the model gave are not changed."""
    logits = np.array([[3.0, 2.9, 0], [3.0, 2.9, 0]], np.float32)
    chooser = Chooser(Sampling(temperature=0, repetition_penalty=1.5), [1, 2], [np.array([2]), np.array([0])], 3)
    running = np.ones(2, bool)
    first = chooser(logits, np.array([], int), running)
    assert first.tolist() == [0, 1]
    assert chooser(logits, first, running).tolist() == [1, 0]
    assert logits.tolist() == np.array([[3.0, 2.9, 0], [3.0, 2.9, 0]], np.float32).tolist()


@pytest.mark.parametrize("fields", [{}, {"top_k": 4}, {"top_p": 0.8}, {"min_p": 0.2}, {"temperature": 2.5}], ids=str)
def test_draws_are_as_frequent_as_they_are_probable(fields: dict[str, Any]) -> None:
    """By Pearson's chi-square, at six standard deviations of it."""
    logits = np.array([1.0, -0.5, 2, 0, 1.5, -3, 0.7, -1])
    count = 20_000
    probabilities = distribution(logits, **fields)
    tokens, seen = np.unique(drawn(logits, count, **fields), return_counts=True)
    assert set(tokens.tolist()) <= set(probabilities)
    frequencies = dict(zip(tokens.tolist(), seen.tolist(), strict=True))
    wanted = {token: count * share for token, share in probabilities.items()}
    square = sum((frequencies.get(token, 0) - of) ** 2 / of for token, of in wanted.items())
    freedom = len(wanted) - 1
    assert square < freedom + 6 * np.sqrt(2 * freedom)


def test_temperature_0_is_the_limit_and_the_limits_change_nothing() -> None:
    logits = np.random.default_rng(0).standard_normal(300)
    for fields in ({}, {"top_k": 5}, {"top_p": 0.3}, {"min_p": 1.0}, {"seed": 9}):
        assert set(drawn(logits, 20, **fields, temperature=0).tolist()) == {int(logits.argmax())}
    for fields in ({"temperature": 1e-320}, {"temperature": 1e-6}, {"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}):
        assert set(drawn(logits, 20, **fields).tolist()) == {int(logits.argmax())}


def test_tokens_of_logit_minus_infinity_are_never_drawn() -> None:
    logits = np.full(50, -np.inf)
    logits[[3, 8]] = 1e4
    for fields in ({}, {"top_k": 10}, {"top_p": 0.99}, {"min_p": 0.0}, {"temperature": 1e300}):
        assert set(drawn(logits, 40, **fields).tolist()) == {3, 8}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_that_are_no_numbers_are_refused(value: float, temperature: float) -> None:
    logits = np.zeros((2, 5), np.float32)
    logits[1, 2] = value
    chooser = Chooser(Sampling(temperature=temperature), [6, 7], [np.array([0])] * 2, 5)
    with pytest.raises(BundleError, match="text 7: the model's logits are no finite numbers"):
        chooser(logits, np.array([], int), np.ones(2, bool))
    assert len(chooser(logits, np.array([], int), np.array([True, False]))) == 2


def test_random_numbers_are_a_texts_own() -> None:
    """They depend on the seed and the text's number: not on texts beside it, nor on which of these go on."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((6, 4, 200)).astype(np.float32)  # steps, texts, tokens
    numbers = [3, 1, 12, 7]

    def run(texts: list[int], stops: dict[int, int], seed: int = 5) -> np.ndarray:
        chooser = Chooser(Sampling(seed=seed), [numbers[i] for i in texts], [np.array([0])] * len(texts), 200)
        last = np.array([], int)
        found = []
        for step in range(6):
            running = np.array([step < stops.get(i, 9) for i in texts])
            last = chooser(logits[step, texts], last, running)
            found.append(last)
        return np.array(found)

    together = run([0, 1, 2, 3], {})
    for text in range(4):
        assert run([text], {})[:, 0].tolist() == together[:, text].tolist()
    assert run([2, 0, 3], {0: 1, 3: 2})[:, 0].tolist() == together[:, 2].tolist()
    assert run([0, 1, 2, 3], {}, seed=6).tolist() != together.tolist()
    assert len({tuple(column) for column in together.T}) == 4


def test_a_last_bit_of_the_logits_changes_next_to_no_draws() -> None:
    """Not even where many tokens are nearly equal, whose order by size such a bit turns around."""
    rng = np.random.default_rng(0)
    logits = np.ones(500, np.float32)
    shaken = logits * (1 + rng.choice([-1e-7, 0, 1e-7], 500)).astype(np.float32)
    assert np.count_nonzero(drawn(logits, 4000) != drawn(shaken, 4000)) <= 2
