"""What to tell a user before a search that will not do as well as it could."""

from __future__ import annotations

from .assisted import probes_within
from .settings import CMA, SearchSettings

# Below this CMA-ES alone was far behind others on the embedded hub (docs/measurements/tinyhub.md).
_FEW_FOR_CMA = 100


def advise(settings: SearchSettings, dimension: int, budget: int) -> list[str]:
    """Warnings that name the optimizer and the budget together, for so many modules and candidates."""
    found = []
    if settings.optimizer == CMA and not settings.assisted and budget < _FEW_FOR_CMA <= 12 * dimension:
        found.append(
            f"optimizer cma without its surrogate learns little about {dimension} weights from a budget of {budget} "
            "candidates; with the surrogate it does better, and else it takes a budget of 200"
        )
    tried = probes_within(budget, dimension)
    if settings.assisted and tried < dimension:
        enough = budget
        while probes_within(enough, dimension) < dimension:
            enough += 1
        found.append(
            f"optimizer cma tries {tried} of {dimension} modules alone in a budget of {budget} candidates, those that "
            f"look most promising; a budget of {enough} tries them all"
        )
    return found
