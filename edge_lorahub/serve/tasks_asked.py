"""Requests for adaptations, as tasks: which fields they have, and within which bounds."""

from __future__ import annotations

from ..composition.stack import COMPOSITIONS
from ..examples.example import Example
from ..learning.settings import Settings
from ..search.settings import CMA, REFERENCE
from .adaptations import Task
from .fields import Fields
from .limits import Limits
from .shelf import check_name

# Searches that look up, at every candidate, whether they are to end. Of nevergrad's not all do.
OPTIMIZERS = (CMA, REFERENCE)
_AUTO = "auto"
_MOST_SEED = 2**32 - 1


def task_of(fields: Fields, limits: Limits) -> tuple[Task, bool]:
    """A request for /v1/adapt, and whether its events are streamed."""
    pairs = []
    for one in fields.objects("examples", 1, limits.examples):
        pairs.append(Example(one.needed_text("input"), one.needed_text("output")))
        one.done()
    automatic = fields.raw("budget") == _AUTO
    budget = None if automatic else fields.whole("budget", None, 1, limits.budget, f", or {_AUTO}")
    composition = None
    if fields.raw("composition") is not None:
        composition = fields.choice("composition", "", COMPOSITIONS)
    settings = Settings(
        optimizer=fields.choice("optimizer", CMA, OPTIMIZERS),
        budget=budget,
        seed=fields.whole("seed", 1, 0, _MOST_SEED) or 0,
        composition=composition,
        max_input_tokens=limits.example_tokens,
        max_output_tokens=limits.example_tokens,
    )
    name = fields.text("name", most=200)
    system = fields.text("system", least=1)
    task = Task(tuple(pairs), settings, None if name is None else check_name(name), system)
    stream = fields.flag("stream")
    fields.done()
    return task, stream
