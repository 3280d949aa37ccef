"""Logits at the label positions, as much of them as a search can learn from.

An evaluation computes the logits of the whole vocabulary at every label position. Most of these tokens never matter, so
the likeliest are kept by name, and all others as one logit, the logarithm of the sum of their exponentials: the
cross-entropy is the same to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Ids = NDArray[np.int64]

# Tokens kept by name at each position of an evaluation. The surrogate keeps fewer, and looks for them in here.
KEPT_TOKENS = 128
# Below it a logit less its position's largest adds nothing to a sum in float64. Its exponential, no normal number of
# float32 any more, takes a processor ten times as long.
_LEAST = np.float32(-87)


@dataclass(frozen=True)
class LabelLogits:
    """The logits of T label positions: tokens int64 (T, M) and their logits float32 (T, M), the label first.

    rest float32 (T,): the log-sum-exp of all tokens that are not among the M; -inf where there are none.
    """

    tokens: Ids
    logits: Float32
    rest: Float32


def scored(logits: Float32, labels: Ids, keep: int = 0) -> tuple[float, LabelLogits | None]:
    """The cross-entropy of labels (S,) by logits (S, V): the sum of -log softmax(logits)[label] in nats.

    Never negative. keep: how many tokens of each position are kept by name, the label among them; 0: none. Overwrites
    logits.
    """
    rows = np.arange(len(labels))
    tokens = _likeliest(logits, labels, keep) if keep else None
    kept = None if tokens is None else np.take_along_axis(logits, tokens, axis=1)
    # the largest is among what is kept, unless that is the label alone
    largest = (logits if kept is None or kept.shape[1] == 1 else kept).max(axis=1, keepdims=True)
    logits -= largest
    chosen = logits[rows, labels].astype(np.float64)
    np.maximum(logits, _LEAST, out=logits)
    np.exp(logits, out=logits)  # out: the logits of a long answer are the largest array of an evaluation
    total = logits.sum(axis=1, dtype=np.float64)
    loss = float((np.log(total) - chosen).sum())
    if tokens is None or kept is None:
        return loss, None
    others = (
        np.zeros_like(total)
        if tokens.shape[1] == logits.shape[1]
        else total - np.take_along_axis(logits, tokens, axis=1).sum(axis=1, dtype=np.float64)
    )
    with np.errstate(divide="ignore"):  # a vocabulary that is kept whole leaves nothing
        rest = np.log(np.maximum(others, 0)) + largest[:, 0]
    return loss, LabelLogits(tokens, kept, rest.astype(np.float32))


def _likeliest(logits: Float32, labels: Ids, count: int) -> Ids:
    """The tokens with the largest logits of each position, the label first whatever its logit: (S, M)."""
    rows = np.arange(len(labels))
    of_labels = logits[rows, labels].copy()
    logits[rows, labels] = np.inf  # so that the label is among the largest
    tokens = _largest(logits, min(count, logits.shape[1]))
    logits[rows, labels] = of_labels
    places = (tokens == labels[:, None]).argmax(axis=1)
    tokens[rows, places] = tokens[:, 0]
    tokens[:, 0] = labels
    return tokens


def _largest(logits: Float32, count: int) -> Ids:
    """Where the `count` largest of each row are, in no order: (S, V) -> (S, count).

    A large row is cut into blocks, twice as many as are wanted. As many as are wanted have a largest logit of at least
    the bound, so that many logits are, and few more: those alone are sorted out.
    """
    vocabulary, blocks = logits.shape[1], 2 * count
    if vocabulary < 4 * blocks:
        return _last(logits, count)
    # every block has the tokens of one remainder, so that the maximum goes along the rows
    maxima = logits[:, : vocabulary // blocks * blocks].reshape(len(logits), -1, blocks).max(axis=1)
    bounds = np.partition(maxima, blocks - count, axis=1)[:, blocks - count]
    found = np.empty((len(logits), count), np.int64)
    for place, (row, bound) in enumerate(zip(logits, bounds, strict=True)):
        above = np.flatnonzero(row >= bound)
        # too few only where logits are not numbers
        found[place] = above[_last(row[above], count)] if len(above) >= count else _last(row, count)
    return found


def _last(values: Float32, count: int) -> Ids:
    """Where the `count` largest are along the last axis, in no order."""
    rest = values.shape[-1] - count
    return np.argpartition(values, rest, axis=-1)[..., rest:]


def joined(parts: Sequence[LabelLogits]) -> LabelLogits:
    """The positions of several, one after the other."""
    tokens, logits, rest = zip(*((part.tokens, part.logits, part.rest) for part in parts), strict=True)
    return LabelLogits(np.concatenate(tokens), np.concatenate(logits), np.concatenate(rest))
