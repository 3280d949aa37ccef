"""What to tell a user before a search that will not do as well as it could."""

from __future__ import annotations

from .assisted import budget_for_probes, probes_within
from .settings import CMA, SearchSettings

# Below this CMA-ES alone was far behind others on the embedded hub (docs/measurements/tinyhub.md).
_FEW_FOR_CMA = 100
# Of fewer weights than make that with so many candidates each, CMA-ES alone learns from less: it wants a number of
# candidates in proportion to them (the tutorial's section on initial values).
_FEW_FOR_A_WEIGHT = 12


def advise(settings: SearchSettings, dimension: int, budget: int, *, start: bool = False) -> list[str]:
    """Warnings that name the optimizer and the budget together, for so many modules and candidates.

    start: whether the search begins with weights of an earlier one, which are a candidate beside the plain model.
    """
    found = []
    if settings.optimizer == CMA and not settings.assisted and budget < _FEW_FOR_CMA <= _FEW_FOR_A_WEIGHT * dimension:
        better = "with the surrogate it does better, and else it takes" if settings.assistable else "it takes"
        found.append(
            f"optimizer cma without its surrogate learns little about {dimension} weights from a budget of {budget} "
            f"candidates; {better} a budget of 200"
        )
    tried = probes_within(max(1, budget - start), dimension)
    if settings.assisted and tried < dimension:
        enough = budget_for_probes(dimension) + start
        found.append(
            f"optimizer cma tries {tried} of {dimension} modules alone in a budget of {budget} candidates, those that "
            f"look most promising; a budget of {enough} tries them all"
        )
    return found
