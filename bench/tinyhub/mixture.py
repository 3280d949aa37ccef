"""Training examples: a combination is drawn, and each part of the instruction is stated or left as filler."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lorahub.tinyhub.draws import Draws
from edge_lorahub.tinyhub.forms import LAYOUTS, TRANSFORMS, write
from edge_lorahub.tinyhub.operations import BASE_OPERATIONS, OPERATIONS
from edge_lorahub.tinyhub.unseen import in_training
from edge_lorahub.tinyhub.wording import SEPARATOR, filler, stated

# Look-ups and counting need more examples than moving words about.
_HARD = {"colour": 2.0, "kind": 2.0, "sort": 2.0, "count": 1.5, "animals": 1.5, "invented": 1.5}
# What an instruction that says nothing most often means.
_DEFAULT_SHARE = 0.4


@dataclass(frozen=True)
class Mixture:
    """What a batch is drawn from.

    ``fixed`` maps an axis to the only value it takes; a fixed axis is never stated. ``silent`` is the
    chance that any other axis is not stated. ``forms`` is off at the start of the curriculum: every answer is
    written plainly, and the instruction says so.
    """

    silent: float = 0.0
    forms: bool = True
    fixed: tuple[tuple[str, str], ...] = ()

    def draw(self, draws: Draws) -> tuple[str, str]:
        """One pair of input and output text."""
        fixed = dict(self.fixed)
        while True:
            values = {
                "operation": _one_of(draws, BASE_OPERATIONS),
                "transform": _form(draws, tuple(TRANSFORMS), self.forms),
                "layout": _form(draws, tuple(LAYOUTS), self.forms),
            } | fixed
            if in_training(values["operation"], values["transform"], values["layout"]):
                break
        instruction: list[str] = []
        for axis, value in values.items():
            unsaid = axis in fixed or draws.chance(self.silent)
            instruction += filler(draws, 2) if unsaid else stated(draws, axis, value)
        draw_input, answer = OPERATIONS[values["operation"]]
        words = draw_input(draws)
        output = write(answer(words), values["transform"], values["layout"])
        return " ".join([*instruction, SEPARATOR, *words]), " ".join(output)


def _one_of(draws: Draws, values: tuple[str, ...]) -> str:
    return draws.weighted(values, [_HARD.get(value, 1.0) for value in values])


def _form(draws: Draws, values: tuple[str, ...], forms: bool) -> str:
    """The axis' default (its first value) or one of the others."""
    if not forms or draws.chance(_DEFAULT_SHARE):
        return values[0]
    return _one_of(draws, values[1:])
