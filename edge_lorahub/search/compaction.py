"""Which tokens the surrogate models at each label position, and evaluations cut down to those."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..label_logits import LabelLogits

Float64 = NDArray[np.float64]
Ids = NDArray[np.int64]

# Tokens modeled at each position: the label, and the likeliest that any evaluation showed. All others are one more.
TOKENS = 64
# Other tokens are chosen when those that are modeled miss so much of a candidate's probability at some position.
_MISSED = 0.02
# But only after one evaluation in so many of all: every one is cut down anew then.
_PATIENCE = 64
# How far below a position's largest logit a probability of 0 is put: the surrogate needs a number. A finite logit
# stays, however small: the loss of a label far below the largest is what the search has to lower.
_NOTHING = 60.0
# Wider than any vocabulary: a position and a token are one whole number.
_STRIDE = 1 << 32


class Compaction:
    """Evaluations' label logits, of which the same K tokens are kept by name at each position, the label's first.

    A token is as likely as in the evaluation that likes it most. One that an evaluation does not have by name gets the
    least logit that it has, which bounds it from above.
    """

    def __init__(self) -> None:
        self._seen: list[_Evaluation] = []
        self._known: Ids = np.empty(0, np.int64)  # keys of all tokens seen, ascending
        self._most: Float64 = np.empty(0)  # the most probability that an evaluation gave each
        self._keys: Ids = np.empty((0, 0), np.int64)  # of the chosen tokens, (T, K)
        self._rows: list[Float64] = []
        self._chosen_at = 0  # evaluations

    def add(self, logits: LabelLogits) -> None:
        found = _Evaluation(logits)
        self._seen.append(found)
        places, known = _places(self._known, found.keys)
        shares = found.shares()
        self._most[places[known]] = np.maximum(self._most[places[known]], shares[known])
        if not known.all():
            # np.insert keeps the order of equal places, and the keys ascend
            self._known = np.insert(self._known, places[~known], found.keys[~known])
            self._most = np.insert(self._most, places[~known], shares[~known])

    def rows(self) -> Float64:
        """All evaluations, (n, T, K + 1): the chosen tokens' logits, and the log-sum-exp of all others'."""
        if self._keys.size:
            self._cut_down()
        due = len(self._seen) - self._chosen_at > len(self._seen) // _PATIENCE
        if not self._keys.size or (due and self._missed() > _MISSED):
            self._chosen_at = len(self._seen)
            keys = self._choose()
            if not np.array_equal(keys, self._keys):
                self._keys, self._rows = keys, []
                self._cut_down()
        return np.array(self._rows)

    def _cut_down(self) -> None:
        self._rows += [found.compact(self._keys) for found in self._seen[len(self._rows) :]]

    def _missed(self) -> float:
        """The most probability that the last evaluation gives, at some position, to tokens that are not chosen."""
        row = self._rows[-1]
        return float(np.exp(row[:, -1] - np.logaddexp.reduce(row, axis=1)).max())

    def _choose(self) -> Ids:
        positions = self._known // _STRIDE
        most = self._most.copy()
        most[np.searchsorted(self._known, self._seen[0].labels)] = np.inf
        # by position, then the likeliest first; lexsort is stable, so that equals come by token on every machine
        order = np.lexsort((-most, positions))
        starts = np.searchsorted(positions, np.arange(positions[-1] + 1))
        keys = np.full((len(starts), TOKENS), -1, np.int64)  # -1: no token
        ranks = np.arange(len(order)) - starts[positions]
        kept = ranks < TOKENS
        keys[positions[kept], ranks[kept]] = self._known[order][kept]
        return keys


class _Evaluation:
    """One evaluation's label logits, to be looked up by position and token."""

    def __init__(self, logits: LabelLogits) -> None:
        keys = np.arange(len(logits.rest))[:, None] * _STRIDE + logits.tokens  # (T, M)
        self.labels = keys[:, 0].copy()
        order = np.argsort(keys, axis=1)
        self.keys: Ids = np.take_along_axis(keys, order, axis=1).ravel()
        self._logits = np.take_along_axis(logits.logits, order, axis=1)
        self._rest = logits.rest
        self._largest = logits.logits.max(axis=1).astype(np.float64)
        self._parts = np.exp(self._logits - self._largest[:, None])  # float32, (T, M)

    def shares(self) -> Float64:
        """The tokens' probabilities, in the keys' order."""
        total = self._parts.sum(axis=1) + np.exp(self._rest - self._largest)
        shares: Float64 = (self._parts / total[:, None]).ravel().astype(np.float64)
        return shares

    def compact(self, wanted: Ids) -> Float64:
        """wanted: keys (T, K) -> (T, K + 1)."""
        places, found = _places(self.keys, wanted)
        places = np.minimum(places, len(self.keys) - 1)
        result = np.empty((len(wanted), wanted.shape[1] + 1))
        flat = self._logits.ravel()
        result[:, :-1] = np.where(found, flat[places], self._logits.min(axis=1, keepdims=True))
        result[:, :-1][wanted < 0] = -np.inf  # a vocabulary with fewer tokens
        left = self._parts.ravel().copy()
        left[places[found]] = 0
        with np.errstate(divide="ignore"):
            others = np.log(left.reshape(self._parts.shape).sum(axis=1, dtype=np.float64)) + self._largest
        result[:, -1] = np.logaddexp(others, self._rest)
        finite: Float64 = np.where(result == -np.inf, (self._largest - _NOTHING)[:, None], result)
        return finite


def _places(keys: Ids, wanted: Ids) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where among ascending keys those wanted are or belong, and whether they are there."""
    places = np.searchsorted(keys, wanted)
    found = np.zeros(wanted.shape, bool)
    if len(keys):
        found = keys[np.minimum(places, len(keys) - 1)] == wanted
    return places, found
