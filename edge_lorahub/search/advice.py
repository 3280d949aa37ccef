"""What to tell a user before a search that will not do as well as it could."""

from __future__ import annotations

from .settings import CMA, SearchSettings

# docs/search.md: below this CMA-ES alone was far behind others
_FEW_FOR_CMA = 100


def advise(settings: SearchSettings, dimension: int, budget: int) -> list[str]:
    """Warnings that name the optimizer and the budget together, for so many modules and candidates."""
    found = []
    if settings.optimizer == CMA and not settings.assisted and budget < _FEW_FOR_CMA <= 12 * dimension:
        found.append(
            f"optimizer cma without its surrogate learns little about {dimension} weights from a budget of {budget} "
            "candidates; a budget of 200, or optimizer nevergrad:NGOpt, did better where it was measured"
        )
    if settings.assisted and budget < dimension + 2:
        found.append(
            f"optimizer cma cannot try each of {dimension} modules alone in a budget of {budget} candidates; "
            "those that look least promising are left out (a budget of auto tries them all)"
        )
    return found
