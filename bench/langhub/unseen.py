"""Unseen tasks: combinations of a skill and a form that no training shows."""

from __future__ import annotations

from dataclasses import dataclass

from .forms import FORMS, PLAIN


@dataclass(frozen=True)
class Task:
    """A skill and a form, by name."""

    skill: str
    form: str

    @property
    def name(self) -> str:
        """For example ``past-json``."""
        return f"{self.skill}-{self.form}"

    @property
    def needs(self) -> tuple[str, str]:
        """The modules that know its two parts."""
        return skill_module(self.skill), form_module(self.form)


def skill_module(skill: str) -> str:
    """The name of a skill's module, for example ``do-past``."""
    return f"do-{skill}"


def form_module(form: str) -> str:
    """The name of a form's module, for example ``form-json``."""
    return f"form-{form}"


# In the order of training's draws.
SKILLS = ("past", "gerund", "plural", "comparative", "article", "kind", "number", "bigger", "reverse", "sentiment")

# Choices are made on these.
DEV_TASKS = (
    Task("past", "json"),
    Task("gerund", "sentence"),
    Task("plural", "twice"),
    Task("comparative", "bold"),
    Task("article", "bracket"),
    Task("kind", "arrow"),
    Task("number", "bracket"),
    Task("bigger", "twice"),
    Task("reverse", "sentence"),
    Task("sentiment", "title"),
)

# These are reported once.
TEST_TASKS = (
    Task("past", "title"),
    Task("past", "arrow"),
    Task("gerund", "arrow"),
    Task("plural", "json"),
    Task("plural", "bold"),
    Task("comparative", "bracket"),
    Task("article", "title"),
    Task("kind", "twice"),
    Task("kind", "json"),
    Task("number", "sentence"),
    Task("number", "arrow"),
    Task("bigger", "json"),
    Task("reverse", "bracket"),
    Task("sentiment", "bold"),
)

PARTS = {"dev": DEV_TASKS, "test": TEST_TASKS}
_UNSEEN = frozenset(DEV_TASKS + TEST_TASKS)

MODULES: tuple[str, ...] = (
    *(skill_module(skill) for skill in SKILLS),
    *(form_module(form) for form in FORMS if form != PLAIN),
)


def in_training(skill: str, form: str) -> bool:
    """Whether training may show this combination. Figures have no title case."""
    return Task(skill, form) not in _UNSEEN and (skill, form) != ("bigger", "title")
