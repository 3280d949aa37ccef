"""What is drawn for a task and a seed: the examples to learn from, and the inputs to answer."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from ..errors import ExamplesError
from ..examples.example import Example
from .task_files import Task


@dataclass(frozen=True)
class Draw:
    """The examples that every method may learn from, and the inputs that every method answers."""

    examples: tuple[Example, ...]
    inputs: tuple[Example, ...]


def draw(task: Task, seed: int, count: int, limit: int | None) -> Draw:
    """`count` examples, and of the other inputs at most `limit`, None: all of them.

    The same task, seed and count give the same, whatever other tasks there are; a smaller limit takes fewer of the same
    inputs. Raises ExamplesError where too few are there.
    """
    if len(task.examples) < count:
        raise ExamplesError(
            f"{task.path}: {len(task.examples)} different inputs, of which {count} examples cannot be drawn; "
            "give it more, or ask for fewer with --examples"
        )
    rng = random.Random(hashlib.sha256(f"{seed} {task.name}".encode()).digest())
    shuffled = rng.sample(task.examples, len(task.examples))
    learned = shuffled[:count]
    used = {example.input.strip() for example in learned}
    if task.inputs is task.examples or task.inputs == task.examples:
        others = shuffled[count:]
    else:
        others = rng.sample(task.inputs, len(task.inputs))
    asked = [example for example in others if example.input.strip() not in used]
    if not asked:
        raise ExamplesError(
            f"{task.path}: no input is left to answer beside {count} examples; give it more, or ask for fewer with "
            "--examples"
        )
    return Draw(tuple(learned), tuple(asked[:limit]))
