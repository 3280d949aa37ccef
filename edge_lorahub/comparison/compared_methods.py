"""The methods that are compared, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import SettingsError
from ..learning.settings import Settings
from ..search.choose import make_strategy
from ..search.settings import CMA, NEVERGRAD

ZERO_SHOT, FEW_SHOT, BEST_SINGLE, UNIFORM = "zero-shot", "few-shot", "best-single", "uniform"
LEARNED, RANDOM = "learned", "random"
KINDS = (ZERO_SHOT, FEW_SHOT, BEST_SINGLE, UNIFORM, RANDOM, LEARNED)
_LABELS = {
    ZERO_SHOT: "plain model",
    FEW_SHOT: "few-shot prompting",
    BEST_SINGLE: "best single module",
    UNIFORM: "uniform weights",
    RANDOM: "random modules",
    LEARNED: "learned weights",
}


@dataclass(frozen=True)
class Method:
    """A method; optimizer, composition and budget are of those that search.

    surrogate: whether one assists CMA-ES, None: where it can.
    """

    kind: str
    optimizer: str | None = None
    composition: str | None = None
    budget: int | None = None
    surrogate: bool | None = None

    @property
    def id(self) -> str:
        return self.kind if self.optimizer is None else f"{self.kind}:{self.optimizer}"

    @property
    def label(self) -> str:
        return _LABELS[self.kind] if self.optimizer is None else f"{_LABELS[self.kind]} ({self.optimizer})"

    @property
    def searches(self) -> bool:
        return self.optimizer is not None

    @property
    def needs_modules(self) -> bool:
        return self.kind not in (ZERO_SHOT, FEW_SHOT)

    def settings(self, seed: int, max_input_tokens: int) -> Settings:
        """Those of its search."""
        assert self.optimizer is not None
        return Settings(
            optimizer=self.optimizer,
            composition=self.composition,
            budget=self.budget,
            surrogate=self.surrogate,
            seed=seed,
            max_input_tokens=max_input_tokens,
        )


def make_methods(
    optimizers: Sequence[str] = (CMA,), composition: str | None = None, budget: int = 40,
    surrogate: bool | None = None, kinds: Sequence[str] = KINDS,
) -> list[Method]:  # fmt: skip
    """The methods of these kinds, those that search once with each optimizer. Raises SettingsError."""
    if not kinds:
        raise SettingsError("no method to compare; name some")
    methods = []
    for kind in (kind for kind in KINDS if kind in kinds):
        if kind not in (RANDOM, LEARNED):
            methods.append(Method(kind))
            continue
        for optimizer in dict.fromkeys(optimizers):
            assists = surrogate if optimizer == CMA else None
            # whatever is wrong with the settings is said here, before the slow part
            settings = Method(kind, optimizer, composition, budget, assists).settings(1, 2048)
            if optimizer.startswith(NEVERGRAD):
                make_strategy(settings, 2, budget)  # whether nevergrad has it
            methods.append(Method(kind, optimizer, settings.chosen_composition, budget, assists))
    return methods
