"""The answers that an input can have, for the metric "choice"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import ExamplesError
from ..examples.example import Example
from .task_files import Task

# More different outputs than that are no choice between answers.
MOST = 26
_HEADING = re.compile(r"^\s*options\s*:\s*$", re.IGNORECASE)
# "(A) Monday" is chosen by its letter, "- Yes" by its text.
_LETTER = re.compile(r"^\s*(\([A-Za-z]\))")
_DASH = re.compile(r"^\s*-\s+(\S.*?)\s*$")


def choices_of(task: Task, inputs: Sequence[Example]) -> tuple[tuple[str, ...], ...]:
    """The possible answers to each input: those that it lists under "Options:", else all outputs of the task.

    The listed ones are taken where every input of the task lists its own output among them. Raises ExamplesError where
    the outputs are too many, or all the same.
    """
    every = dict.fromkeys((*task.inputs, *task.examples))
    if all(example.output.strip() in _listed(example.input) for example in every):
        return tuple(_as_written(example) for example in inputs)
    outputs = tuple(dict.fromkeys(example.output for example in every))
    if not 2 <= len(outputs) <= MOST:
        raise ExamplesError(
            f"{task.path}: no task of multiple choice: its inputs list no options, and it has {len(outputs)} different "
            f"outputs, where 2 to {MOST} would do; leave it out, or take another --metric"
        )
    return tuple(outputs for _ in inputs)


def _listed(text: str) -> tuple[str, ...]:
    """The options in an input's lines below "Options:"."""
    found: dict[str, None] = {}
    listing = False
    for line in text.splitlines():
        if _HEADING.match(line):
            listing, found = True, {}
        elif listing and (match := _LETTER.match(line) or _DASH.match(line)):
            found[match[1]] = None
        elif line.strip():
            listing = False
    return tuple(found) if len(found) > 1 else ()


def _as_written(example: Example) -> tuple[str, ...]:
    """The listed options, the right one as the output has it."""
    return tuple(example.output if one == example.output.strip() else one for one in _listed(example.input))
