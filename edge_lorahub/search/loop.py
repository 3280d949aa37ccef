"""The loop of ask and tell. Knows no model and no files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .strategy import Candidate, Float64, Observation, Proposal, Strategy

Evaluate = Callable[[Proposal], Iterable[Observation]]


@dataclass(frozen=True)
class Found:
    """A finished search: every candidate in order, the weights chosen, and the strategy's name in full.

    converged: the strategy saw nothing more to gain, before the budget's end.
    """

    trace: tuple[Candidate, ...]
    weights: Float64
    optimizer: str
    converged: bool = False


def search(
    evaluate: Evaluate,
    strategy: Strategy,
    budget: int,
    *,
    on_candidate: Callable[[Candidate], None] = lambda candidate: None,
    revise: Callable[[float], int] | None = None,
) -> Found:
    """Evaluates what the strategy asks for, at most `budget` candidates, and takes what it chooses.

    evaluate gives an observation for each candidate of a proposal, in their order; if it gives fewer, the search ends.
    on_candidate gets each candidate as soon as it was evaluated. revise gets the seconds that a candidate of the first
    proposal took, and gives the budget.
    """
    trace: list[Candidate] = []
    converged = False
    while left := budget - len(trace):
        proposal = strategy.ask(left)
        if proposal is None:
            converged = True
            break
        seen = []
        start = time.perf_counter()
        for observation in evaluate(proposal):
            seen.append(observation)
            trace.append(Candidate(observation.weights.copy(), observation.loss, proposal.phase, proposal.predicted))
            on_candidate(trace[-1])
        if revise is not None and len(trace) == len(seen):
            budget = max(len(trace), revise((time.perf_counter() - start) / len(seen)))
        strategy.tell(seen)
        if len(seen) < len(proposal.weights):
            break
    return Found(tuple(trace), strategy.choice(trace), strategy.name, converged)
