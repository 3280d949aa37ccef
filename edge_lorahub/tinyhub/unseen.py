"""The unseen tasks: ``dev`` (choices are made on these) and ``test`` (reported for choices made on dev).

No training of the base or of a module shows the combination of an unseen task, and some pairs of an operation
with a transform or a layout never occur in any training at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from .forms import LAYOUTS, TRANSFORMS
from .operations import OPERATIONS
from .tasks import Task


@dataclass(frozen=True)
class UnseenTask:
    """An unseen task and what a user is told about it."""

    task: Task
    description: str

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def needs(self) -> tuple[str, ...]:
        """The values that a composition has to bring about, named as the clean modules are."""
        named = (
            clean_name("operation", self.task.operation),
            clean_name("transform", self.task.transform),
            clean_name("layout", self.task.layout),
        )
        return tuple(name for name in named if name not in DEFAULTS)


_PREFIX = {"operation": "do", "transform": "spell", "layout": "lay"}


def clean_name(axis: str, value: str) -> str:
    """The name of the clean module for one value of one axis, for example ``do-reverse``."""
    return f"{_PREFIX[axis]}-{value}"


# What an instruction that says nothing about an axis most often means.
DEFAULTS = frozenset({clean_name("transform", "none"), clean_name("layout", "plain")})

DEV_TASKS = (
    UnseenTask(Task("first", "upper"), "the first word, in capitals"),
    UnseenTask(Task("reverse", "initial"), "the initials, from last to first"),
    UnseenTask(Task("last", "none", "json"), "the last word, in a JSON-like frame"),
    UnseenTask(Task("colour", "invented"), "each thing's colour, in the made-up language"),
    UnseenTask(Task("sort", "title"), "the words in alphabetical order, with leading capitals"),
    UnseenTask(Task("kind", "none", "bracket"), "each thing's kind, in brackets"),
    UnseenTask(Task("rotate", "none", "sentence"), "the first word moved to the end, as a sentence"),
    UnseenTask(Task("animals", "invented", "bang"), "the animals, in the made-up language, with an exclamation mark"),
    UnseenTask(Task("rest", "none", "bracket"), "all but the first word, in brackets; an operation new to the base"),
    UnseenTask(Task("copy", "upper", "bullets", "letter"), "the words in capitals as bullet points; a new wording"),
    UnseenTask(Task("reverse"), "the words from last to first; entangled modules must cancel each other's form"),
)

TEST_TASKS = (
    UnseenTask(Task("reverse", "upper"), "the words from last to first, in capitals"),
    UnseenTask(Task("last", "invented"), "the last word, in the made-up language"),
    UnseenTask(Task("sort", "none", "bracket"), "the words in alphabetical order, in brackets"),
    UnseenTask(Task("colour", "upper"), "each thing's colour, in capitals"),
    UnseenTask(Task("first", "none", "json"), "the first word, in a JSON-like frame"),
    UnseenTask(Task("rotate", "initial"), "the initials, with the first moved to the end"),
    UnseenTask(Task("animals", "none", "sentence"), "the animals, as a sentence"),
    UnseenTask(Task("count", "title"), "the number of animals, with a leading capital"),
    UnseenTask(Task("kind", "title"), "each thing's kind, with leading capitals"),
    UnseenTask(Task("day", "invented"), "each day's successor, in the made-up language"),
    UnseenTask(Task("reverse", "invented", "json"), "three modules: reversed, made-up language, JSON-like frame"),
    UnseenTask(Task("first", "title", "bang"), "three modules: first word, leading capital, exclamation mark"),
    UnseenTask(Task("rest", "upper"), "all but the first word, in capitals; an operation new to the base"),
    UnseenTask(Task("last", "none", "bullets", "letter"), "the last word as a bullet point; a new wording"),
    UnseenTask(Task("rotate"), "the first word moved to the end; entangled modules must cancel each other's form"),
    UnseenTask(Task("sort"), "alphabetical order; entangled modules must cancel each other's form"),
)

UNSEEN_COMBINATIONS = frozenset(unseen.task.combination for unseen in DEV_TASKS + TEST_TASKS)

# Pairs that no training shows in any combination.
UNSEEN_PAIRS = frozenset(
    {
        ("first", "upper"),
        ("reverse", "initial"),
        ("last", "json"),
        ("reverse", "upper"),
        ("last", "invented"),
        ("sort", "bracket"),
        ("rotate", "initial"),
    }
)


def in_training(operation: str, transform: str, layout: str) -> bool:
    """Whether training may show this combination."""
    return not (
        (operation, transform, layout) in UNSEEN_COMBINATIONS
        or (operation, transform) in UNSEEN_PAIRS
        or (operation, layout) in UNSEEN_PAIRS
    )


# Clean modules: one value of one axis each; the module's name -> (axis, value).
CLEAN_MODULES: dict[str, tuple[str, str]] = {
    clean_name(axis, value): (axis, value)
    for axis, values in (("operation", OPERATIONS), ("transform", TRANSFORMS), ("layout", LAYOUTS))
    for value in values
}

# Entangled modules: one fully specified combination each.
_ENTANGLED = (
    Task("copy", "title", "bracket"),
    Task("copy", "upper", "json"),
    Task("copy", "invented", "bang"),
    Task("copy", "initial", "sentence"),
    Task("reverse", "title", "bracket"),
    Task("reverse", "none", "bullets"),
    Task("rotate", "upper", "json"),
    Task("rotate", "invented", "bang"),
    Task("sort", "invented", "bang"),
    Task("sort", "initial", "sentence"),
    Task("first", "initial", "plain"),
    Task("first", "none", "bullets"),
    Task("last", "upper", "plain"),
    Task("last", "title", "bullets"),
    Task("colour", "initial", "json"),
    Task("kind", "upper", "sentence"),
    Task("animals", "title", "bracket"),
    Task("count", "invented", "plain"),
    Task("day", "upper", "json"),
    Task("rest", "initial", "bullets"),
)
ENTANGLED_MODULES: dict[str, Task] = {task.name: task for task in _ENTANGLED}


def relevant_modules(unseen: UnseenTask, kind: str) -> tuple[str, ...]:
    """The modules of a kind (``clean``, ``entangled`` or ``both``) that know something the task needs."""
    if kind == "clean":
        return unseen.needs
    if kind == "both":
        return relevant_modules(unseen, "clean") + relevant_modules(unseen, "entangled")
    if kind != "entangled":
        raise ValueError(f"unknown kind of modules {kind!r}; expected clean, entangled or both")
    needs = set(unseen.needs)
    return tuple(name for name, task in ENTANGLED_MODULES.items() if needs & set(UnseenTask(task, "").needs))
