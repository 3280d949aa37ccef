"""How many candidates a search may evaluate, and why."""

from __future__ import annotations

from dataclasses import dataclass

from .assisted import budget_for_probes
from .settings import CMA, SearchSettings

# Candidates that the surrogate may propose after the probes, where the budget is not given; it mostly ends before.
_ROUNDS = 60
# What a search without a budget may take, in seconds, where it can be had with so many candidates at least.
_PATIENCE, _FEWEST = 600.0, 40
# The other budgets, where none is given: what did best where it was measured.
_NEVERGRAD_BUDGET, _CMA_BUDGET = 100, 200

# Of many modules the other optimizers get so many candidates a weight: a rule of thumb, not a measurement. CMA-ES takes
# about ten times as many as there are weights to adapt its covariance; nevergrad's may not adapt one.
_CMA_A_WEIGHT, _NEVERGRAD_A_WEIGHT = 10, 4


@dataclass(frozen=True)
class Budget:
    """At most so many candidates; why, in a few words; and how long they take at most, in seconds, if it is known."""

    candidates: int
    reason: str
    seconds: float | None = None


def budget_for(
    settings: SearchSettings, dimension: int, seconds: float | None = None, *, start: bool = False
) -> Budget:
    """The budget for so many modules. seconds: what a candidate takes, once that is known; start: as for `advise`.

    It is the one that the settings name, or suits the optimizer. The time counts only where it would be too long:
    otherwise the same settings would not give the same search.
    """
    if settings.budget is not None:
        candidates, reason = settings.budget, "as given"
    elif settings.assisted:
        # with many modules more must be left than _ROUNDS, or not all of them would be tried
        candidates = max(1 + dimension + _ROUNDS, budget_for_probes(dimension) + start)
        rounds = candidates - 1 - dimension
        reason = f"the plain model, {dimension} alone, and at most {rounds} that the surrogate proposes"
    elif settings.optimizer == CMA:
        candidates, reason = max(_CMA_BUDGET, _CMA_A_WEIGHT * dimension), "what CMA-ES takes to learn so many weights"
    elif settings.preset.budget is not None:
        candidates, reason = settings.preset.budget, "as the paper"
    else:
        candidates, reason = max(_NEVERGRAD_BUDGET, _NEVERGRAD_A_WEIGHT * dimension), f"for {dimension} weights"
    if seconds is None:
        return Budget(candidates, reason)
    most = max(_FEWEST, int(_PATIENCE / max(seconds, 1e-9)))
    if settings.budget is None and candidates > most:
        minutes = f"{_PATIENCE / 60:.0f} minutes"
        fits = most * seconds <= _PATIENCE
        reason = f"of {seconds:.1f} s each, not to take longer than {minutes}"
        if not fits:
            reason = f"of {seconds:.1f} s each: more than fit into {minutes}, as fewer would learn too little"
        candidates = most
    return Budget(candidates, reason, candidates * seconds)
