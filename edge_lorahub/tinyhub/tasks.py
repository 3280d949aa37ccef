"""A task is an operation, a word transform and a layout, with an instruction in a certain wording."""

from __future__ import annotations

from dataclasses import dataclass

from .draws import Draws, seed_for
from .forms import LAYOUTS, TRANSFORMS, write
from .operations import OPERATIONS
from .wording import SEPARATOR, WORDINGS

# How many draws in a row may repeat an earlier input before a task counts as exhausted.
_PATIENCE = 10_000


@dataclass(frozen=True)
class Task:
    """One fully specified task.

    ``wording`` names how its instruction is phrased; no wording states the operation, transform or layout,
    so only examples tell them.
    """

    operation: str
    transform: str = "none"
    layout: str = "plain"
    wording: str = "filler"

    def __post_init__(self) -> None:
        axes = (
            ("operation", self.operation, OPERATIONS),
            ("transform", self.transform, TRANSFORMS),
            ("layout", self.layout, LAYOUTS),
            ("wording", self.wording, WORDINGS),
        )
        for axis, value, known in axes:
            if value not in known:
                raise ValueError(f"unknown {axis} {value!r}; expected one of {', '.join(known)}")

    @property
    def name(self) -> str:
        """For example ``reverse-upper-plain``."""
        name = f"{self.operation}-{self.transform}-{self.layout}"
        return name if self.wording == "filler" else f"{name}-{self.wording}"

    @property
    def combination(self) -> tuple[str, str, str]:
        """Operation, transform and layout."""
        return self.operation, self.transform, self.layout


def draw_pair(task: Task, draws: Draws) -> tuple[str, str]:
    """One pair of input and output text."""
    draw_input, answer = OPERATIONS[task.operation]
    words = draw_input(draws)
    instruction = WORDINGS[task.wording](draws)
    output = write(answer(words), task.transform, task.layout)
    return " ".join([*instruction, *words]), " ".join(output)


def examples(task: Task, count: int, seed: int) -> list[tuple[str, str]]:
    """``count`` pairs of input and output text, with different input words in each.

    The first k of them are the same for every ``count`` >= k, so the 5 examples that a user sees and the
    held-out inputs are two slices of one call and never overlap.

    Raises:
        ValueError: if the task has fewer than ``count`` different inputs.
    """
    draws = Draws(seed_for(task.name, seed))
    seen: set[str] = set()
    pairs: list[tuple[str, str]] = []
    misses = 0
    while len(pairs) < count:
        source, target = draw_pair(task, draws)
        words = source.partition(SEPARATOR)[2]
        if words in seen:
            misses += 1
            if misses > _PATIENCE:
                raise ValueError(f"task {task.name} has fewer than {count} different inputs")
            continue
        misses = 0
        seen.add(words)
        pairs.append((source, target))
    return pairs
