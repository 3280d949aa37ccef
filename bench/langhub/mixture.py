"""What a module's training shows: its own part always and unsaid, the other part drawn, and stated or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_lorahub.tinyhub.draws import Draws, seed_for

from .forms import FORMS, PLAIN
from .skills import Pair, Skill
from .unseen import SKILLS, Task, form_module, in_training, skill_module

# The examples that an unseen task is learned from.
SHOTS = 5
# Instructions that say nothing of the task.
VAGUE = ("Answer.", "Go on.", "Do it.", "Please reply.", "What comes here?", "Your turn.")


@dataclass(frozen=True)
class Mixture:
    """The training of one module.

    skill or form is the module's own part, which is never stated; the other is None and drawn anew each time. `silent`
    is the chance that the drawn part is not stated either. Then the answer's beginning alone tells which it is, and the
    module learns to leave that open: it does not override what another module knows.
    """

    skill: str | None
    form: str | None
    silent: float = 0.5

    def draw(self, skills: Mapping[str, Skill], draws: Draws, held_out: bool = False) -> Pair:
        """One question and its answer, with an input of the training or one that is held out."""
        while True:
            skill = self.skill or draws.choice(SKILLS)
            form = self.form or draws.choice(tuple(FORMS))
            if in_training(skill, form):
                break
        silent = draws.chance(self.silent)
        if silent:
            instruction = draws.choice(VAGUE)
        else:
            phrases = FORMS[form].phrases if self.form is None else skills[skill].phrases
            instruction = draws.choice(phrases)
        pairs = skills[skill].held_out if held_out else skills[skill].train
        given, answer = draws.choice(pairs)
        return question(instruction, given), FORMS[form].write(given, answer)


def question(instruction: str, given: str) -> str:
    """The input is on a line of its own, where its words are the tokens that they are in an answer."""
    return f"{instruction}\n{given}"


def module_mixture(name: str, silent: float = 0.5) -> Mixture:
    """The mixture of a module that is named as in `unseen.MODULES`."""
    for skill in SKILLS:
        if name == skill_module(skill):
            return Mixture(skill, None, silent)
    for form in FORMS:
        if name == form_module(form) and form != PLAIN:
            return Mixture(None, form, silent)
    raise ValueError(f"unknown module {name!r}")


def own_task(name: str, skills: Mapping[str, Skill], count: int) -> list[Pair]:
    """A module's own task on held-out inputs: its own part is unsaid, the other is stated; no question twice."""
    draws = Draws(seed_for(f"own {name}", 1))
    mixture = module_mixture(name, silent=0.0)
    found: dict[str, str] = {}
    for _ in range(20 * count):
        asked, answer = mixture.draw(skills, draws, held_out=True)
        found.setdefault(asked, answer)
        if len(found) == count:
            break
    return list(found.items())


def task_examples(task: Task, skills: Mapping[str, Skill], count: int, seed: int) -> list[Pair]:
    """Up to `count` pairs of an unseen task: held-out inputs, each once, under an instruction that says nothing.

    The first k are the same for every count, so that the five examples and the inputs to test are slices of one call.
    """
    draws = Draws(seed_for(task.name, seed))
    pairs = skills[task.skill].held_out
    mixed = draws.sample(pairs, len(pairs))[:count]
    form = FORMS[task.form]
    return [(question(draws.choice(VAGUE), given), form.write(given, answer)) for given, answer in mixed]
