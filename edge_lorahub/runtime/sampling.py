"""How the next token is chosen: drawn from the model's probabilities, after some tokens were made less likely.

The order is that of transformers: repetition penalty, temperature, top-k, top-p (arXiv 1904.09751), min-p (arXiv
2407.01082).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError, SettingsError
from .tokens import Ids

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; checks itself.

    temperature: the logits are divided by it, so that less than 1 makes likely tokens likelier; 0 is the limit, where
    always the most probable token is taken, whatever top_k, top_p, min_p and seed are. top_k: only so many of the most
    probable tokens are drawn, and those that equal the last of them. top_p: only the fewest of the most probable
    tokens whose probabilities sum up to it. min_p: only tokens at least so probable as this share of the most
    probable one. None: no such limit. repetition_penalty (arXiv 1909.05858): logits of tokens that the text has
    already are divided by it, or multiplied if negative; 1 changes nothing. What a text has is what the decoder has
    read: the answer so far, and in decoder-only models the prompt. seed: the same seed draws the same tokens for the
    same text at the same place among the texts.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        largest = sys.float_info.max
        _check("temperature", self.temperature, "a number from 0", lambda value: 0 <= value <= largest)
        _check("repetition_penalty", self.repetition_penalty, "a number from 0.001 to 1000",
               lambda value: 0.001 <= value <= 1000)  # fmt: skip
        _check("seed", self.seed, "a whole number from 0 to 2^32 - 1", lambda value: 0 <= value < 2**32, int)
        if self.top_k is not None:
            _check("top_k", self.top_k, "a whole number from 1, or None", lambda value: value >= 1, int)
        if self.top_p is not None:
            _check("top_p", self.top_p, "a number above 0 and at most 1, or None", lambda value: 0 < value <= 1)
        if self.min_p is not None:
            _check("min_p", self.min_p, "a number from 0 to 1, or None", lambda value: 0 <= value <= 1)


class Distribution:
    """The tokens that may come next, and how probable each is, for one vocabulary.

    It keeps its arrays: memory that is new in every step would take more time than the arithmetic.
    """

    def __init__(self, sampling: Sampling, vocab_size: int) -> None:
        self._sampling = sampling
        self._ids: Ids = np.arange(vocab_size)
        self._scores: Float64 = np.empty(vocab_size)
        self._ordered: Float64 = np.empty(vocab_size)

    def scores(self, logits: Float32, said: Bools) -> Float64:
        """logits (V,), and which tokens the text has already, (V,) -> penalized logits (V,), until the next call."""
        scores, penalty = self._scores, self._sampling.repetition_penalty
        scores[:] = logits
        if penalty != 1:
            of_said = scores[said]
            scores[said] = np.where(of_said < 0, of_said * penalty, of_said / penalty)
        return scores

    def __call__(self, logits: Float32, said: Bools) -> tuple[Ids, Float64]:
        """As `scores` -> the ids of the tokens that may come, ascending, and their weights, until the next call.

        Weights are probabilities as shares of that of the most probable token. The temperature must be above 0.
        """
        sampling = self._sampling
        scores, ids = self.scores(logits, said), self._ids
        best = scores.max()
        # before the temperature, which keeps the order: what follows then has few tokens to look at
        if sampling.top_k is not None and sampling.top_k < len(scores):
            self._ordered[:] = scores
            self._ordered.partition(-sampling.top_k)
            ids = np.flatnonzero(scores >= self._ordered[-sampling.top_k])
            scores = scores[ids]
        weights = np.subtract(scores, best, out=scores)
        with np.errstate(over="ignore"):  # a small temperature makes -inf of all but the best, which is meant
            weights /= sampling.temperature
        np.exp(weights, out=weights)
        if sampling.top_p is not None and sampling.top_p < 1:
            kept = _nucleus(weights, sampling.top_p)
            ids, weights = ids[kept], weights[kept]
        if sampling.min_p is not None:
            probable = np.flatnonzero(weights >= sampling.min_p)
            ids, weights = ids[probable], weights[probable]
        return ids, weights


class Chooser:
    """Chooses the next tokens of a batch of texts. Each text has its own random numbers, one for every token."""

    def __init__(self, sampling: Sampling, numbers: Sequence[int], before: Sequence[Ids], vocab_size: int) -> None:
        """numbers: the place of each text among all, on which with the seed its random numbers depend. before: the
        tokens of each that stand before its answer, as far as a repetition penalty counts them."""
        self._greedy = sampling.temperature == 0
        self._numbers = numbers
        # the bit generator by name: NumPy may come to prefer another
        self._streams = [np.random.Generator(np.random.PCG64([sampling.seed, number])) for number in numbers]
        self._distribution = Distribution(sampling, vocab_size)
        self._cumulated: Float64 = np.empty(vocab_size)
        self._said: Bools = np.zeros((len(numbers), vocab_size), bool)
        for said, ids in zip(self._said, before, strict=True):
            said[ids] = True

    def __call__(self, logits: Float32, last: Ids, running: Bools) -> Ids:
        """logits (B, V), the tokens before (B,) or at the start none, and which texts go on, (B,) -> tokens (B,).

        Texts that do not go on get token 0. Raises BundleError for logits that are no numbers.
        """
        if len(last):
            self._said[np.arange(len(last)), last] = True
        chosen: Ids = np.zeros(len(logits), np.int64)
        for row in map(int, np.flatnonzero(running)):
            if not np.isfinite(logits[row].max()):
                raise BundleError(
                    f"text {self._numbers[row]}: the model's logits are no finite numbers, so that no token can be "
                    "chosen; try without the adapter, or export the bundle again"
                )
            if self._greedy:
                chosen[row] = self._distribution.scores(logits[row], self._said[row]).argmax()
            else:
                chosen[row] = self._draw(*self._distribution(logits[row], self._said[row]), self._streams[row].random())
        return chosen

    def _draw(self, ids: Ids, weights: Float64, number: float) -> int:
        """The token at this place, from 0 to below 1, among the weights.

        They are in the order of ids: by size, a last bit would turn two around that are nearly equal.
        """
        cumulated = np.cumsum(weights, out=self._cumulated[: len(weights)])
        return int(ids[np.searchsorted(cumulated, number * cumulated[-1], side="right")])


def _nucleus(weights: Float64, top_p: float) -> Ids:
    """The places of the fewest weights, of the largest, that have top_p of the sum; of equal ones the last."""
    total = float(weights.sum())
    rest = (1 - top_p) * total
    # So small ones have less than the rest together, however many they are, and need not be sorted.
    candidates = np.flatnonzero(weights > rest / (2 * len(weights)))
    large = weights[candidates]
    ascending = np.sort(large)
    up_to = (total - float(ascending.sum())) + np.cumsum(ascending)
    gone = min(int(np.searchsorted(up_to, rest, side="right")), len(ascending) - 1)
    least = ascending[gone]
    kept: Bools = large >= least
    surplus = int(np.count_nonzero(kept)) - (len(ascending) - gone)
    kept[np.flatnonzero(large == least)[:surplus]] = False
    places: Ids = candidates[kept]
    return places


def _check(
    name: str, value: Any, what: str, right: Callable[[Any], bool], types: type | tuple[type, ...] = (int, float)
) -> None:
    """Raises SettingsError unless the value is of the types, no True or False, and right."""
    if isinstance(value, bool) or not isinstance(value, types) or not right(value):
        raise SettingsError(f"{name} must be {what}, got {value!r:.80}")
