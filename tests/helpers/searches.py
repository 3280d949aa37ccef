"""Searches on plain functions, for tests that need no model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_lorahub.search.budget import budget_for
from edge_lorahub.search.choose import make_strategy
from edge_lorahub.search.loop import Found, search
from edge_lorahub.search.settings import SearchSettings
from edge_lorahub.search.strategy import Observation, Proposal


def minimize(function: Callable[[np.ndarray], np.ndarray], dimension: int, settings: SearchSettings) -> Found:
    """function: candidates (C, N) -> losses (C,). Without label logits nothing assists."""

    def evaluate(proposal: Proposal) -> list[Observation]:
        losses = function(proposal.weights)
        return [Observation(w, float(loss)) for w, loss in zip(proposal.weights, losses, strict=True)]

    budget = budget_for(settings, dimension).candidates
    return search(evaluate, make_strategy(settings, dimension, budget), budget)
