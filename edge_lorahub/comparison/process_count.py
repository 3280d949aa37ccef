"""How many processes there are: as many as processors and memory allow."""

from __future__ import annotations

import sys
import warnings

from ..bundle.manifest import WEIGHTS
from ..errors import SettingsError, warn
from ..learning import memory
from ..learning.settings import Settings
from ..machine.processors import usable_processors
from ..machine.shortage import free_memory
from .plan import Plan


def estimated_bytes(plan: Plan) -> int:
    """About the most that a process takes: the search's estimate, and the weights once more to answer."""
    weights = (plan.bundle.folder / WEIGHTS).stat().st_size
    settings, modules = plan.settings, list(plan.modules)[: plan.count]
    searching = [method for method in plan.methods if method.searches]
    # what searches nothing takes no more than one that evaluates one candidate
    searches = [method.settings(1, settings.max_input_tokens) for method in searching] or [
        Settings(surrogate=False, budget=1, max_input_tokens=settings.max_input_tokens)
    ]
    # draws of a task differ little
    drawn = {cell.task: cell.examples for cell in plan.cells}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of texts that are cut; they are raised again when a cell is measured
        return weights + max(
            memory.plan(plan.bundle, modules, examples, search, 1, sys.maxsize, settings.prompt).bytes
            for examples in drawn.values()
            for search in searches
        )


def chosen_jobs(plan: Plan, asked: int | None, memory_limit: int | None) -> int:
    """asked None: one a processor. memory_limit: bytes of all processes together, None: what is free.

    Warns where memory allows fewer than asked for. Raises SettingsError where the limit has no room for one.
    """
    wanted = min(asked or max(1, usable_processors() // plan.settings.threads), len(plan.cells))
    room = free_memory() if memory_limit is None else memory_limit
    if room is None:
        return wanted
    each = estimated_bytes(plan)
    fitting = room // each
    if memory_limit is not None and not fitting:
        raise SettingsError(
            f"a memory limit of {memory_limit / 1e6:.0f} MB is too low: a process takes about {each / 1e6:.0f} MB; use "
            "fewer modules (--count), shorter inputs, or a bundle in int8"
        )
    if asked is not None and fitting < wanted:
        warn(
            f"{max(1, fitting)} of {wanted} jobs: each takes about {each / 1e6:.0f} MB, and there are "
            f"{room / 1e6:.0f} MB for all"
        )
    return max(1, min(wanted, fitting))
