"""From settings to a strategy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .assisted import SurrogateSearch
from .cma_es import CmaEs
from .nevergrad import begin_import
from .plain import CmaSearch, NevergradSearch
from .settings import CMA, SearchSettings
from .strategy import Float64, Strategy
from .surrogate import Labels


def make_strategy(
    settings: SearchSettings,
    dimension: int,
    budget: int,
    *,
    labels: Labels | None = None,
    own_objective: bool = False,
    start: Float64 | None = None,
    order: Callable[[], Sequence[int]] | None = None,
) -> Strategy:
    """The strategy that the settings name, for so many weights and candidates.

    labels: of the logits that evaluations give; None: they give none, and nothing assists. own_objective: what is
    minimized is not those labels' cross-entropy. start (N,): weights to begin with. order: gives the modules, the most
    promising first.
    """
    bound, seed = settings.bound, settings.seed
    if settings.assisted and labels is not None:
        return SurrogateSearch(settings, dimension, labels, center=start, order=order, own_objective=own_objective)
    preset = settings.preset
    if preset.nevergrad is None:
        cma = CmaEs(
            dimension, population=settings.population, step_size=settings.step_size, bound=bound, seed=seed, mean=start
        )
        return CmaSearch(cma, start)
    return NevergradSearch(
        preset.nevergrad, dimension, budget=budget, bound=bound, seed=seed, plain_first=preset.plain_first
    )


def prepare(settings: SearchSettings) -> None:
    """Begins with what takes long before a search, so that other things can be done meanwhile."""
    if settings.optimizer != CMA:
        begin_import()


def at_once(settings: SearchSettings) -> int:
    """How many candidates are best evaluated at once: as many as are asked for, again and again, before any is told.

    The surrogate asks for many only once, for its probes; then one candidate on all threads is faster
    (docs/decisions/018-one-worker-for-the-surrogate.md).
    """
    if settings.assisted or settings.optimizer != CMA:
        return 1
    return settings.population if settings.budget is None else min(settings.population, settings.budget)
