"""The protocol of a search: a strategy asks for candidates to be evaluated, and is told what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..label_logits import LabelLogits

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Proposal:
    """Candidates to evaluate at once: weights (C, N).

    phase: what they are for, in a word or two. keep: how many of the least losses the strategy learns from; what is
    above them may be stopped early. None: all. logits: whether it learns from the label logits too.
    predicted: the loss that the strategy expects of its only candidate.
    """

    weights: Float64
    phase: str
    keep: int | None = None
    logits: bool = False
    predicted: float | None = None


@dataclass(frozen=True)
class Observation:
    """What evaluating one candidate showed.

    loss: with regularization; inf for a candidate that was stopped early. losses (E,): the mean token cross-entropy of
    each example, where it was computed. logits: those at the label positions, example by example, where asked for.
    """

    weights: Float64
    loss: float
    losses: Float64 | None = None
    logits: LabelLogits | None = None


@dataclass(frozen=True)
class Candidate:
    """A weight vector that was evaluated, as the record keeps it: weights (N,), and its loss with regularization.

    A loss of inf: stopped early, as it could not be among the best of its generation any more. predicted: the loss that
    the search expected, where it did.
    """

    weights: Float64
    loss: float
    phase: str = ""
    predicted: float | None = None


class Strategy(Protocol):
    """A search by ask and tell. The same settings and observations give the same candidates, bit for bit."""

    @property
    def name(self) -> str:
        """In full, as a report shows it."""
        ...

    def ask(self, left: int) -> Proposal | None:
        """At least one and at most `left` candidates, left at least 1; None: there is nothing more to gain."""
        ...

    def tell(self, seen: Sequence[Observation]) -> None:
        """What the candidates of the last proposal showed, in their order."""
        ...

    def choice(self, trace: Sequence[Candidate]) -> Float64:
        """The weights to take, (N,), after the last candidate."""
        ...


def best(trace: Sequence[Candidate]) -> Float64:
    """The weights of the candidate with the least loss; the first of equals."""
    return min(trace, key=lambda candidate: candidate.loss).weights
