"""What a search depends on besides the function that it minimizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import SettingsError

CMA = "cma"
REFERENCE = "reference"
NEVERGRAD = "nevergrad:"
# CMA-ES's defaults: the standard deviation of its first generation in units of w, and the candidates a
# generation. Chosen by measurement, see docs/decisions/003-settings-of-cma-es.md.
STEP_SIZE = 0.075
POPULATION = 6
_LARGEST_POPULATION = 10_000
# Times mean |w|: what the released code has, and what did better with the surrogate (docs/explanation/search.md).
REGULARIZATION, SURROGATE_REGULARIZATION = 0.05, 0.2


@dataclass(frozen=True)
class Preset:
    """What an optimizer's name stands for, and the settings that go with it where none is given.

    nevergrad: the name in nevergrad's registry; None: CMA-ES. budget None: by the number of modules. token_loss: the
    loss counts every token alike; else every example. plain_first: the search begins with w = 0 and takes its best
    candidate; else nevergrad's optimizer begins where it likes to, and takes what it recommends.
    """

    nevergrad: str | None = None
    composition: str = "exact"
    budget: int | None = None
    token_loss: bool = False
    plain_first: bool = True


# The released code of the paper, with the paper's budget.
_REFERENCE = Preset("NGOpt", "paper", 40, token_loss=True, plain_first=False)
_PRESETS = {CMA: Preset(), REFERENCE: _REFERENCE}


@dataclass(frozen=True)
class SearchSettings:
    """optimizer is "cma", "reference" or "nevergrad:NAME"; step_size and population are CMA-ES's.

    surrogate: with "cma", a surrogate of the label logits proposes candidates; None: where it can. budget: candidates
    to evaluate, never more; None: chosen by the number of modules (`budget_for`). bound: every weight stays within
    [-bound, bound]. regularization times mean |w| is added to every loss; None: 0.2 with the surrogate, 0.05 without.
    """

    optimizer: str = CMA
    budget: int | None = None
    seed: int = 1
    bound: float = 1.5
    surrogate: bool | None = None
    step_size: float = STEP_SIZE
    population: int = POPULATION
    regularization: float | None = None

    def __post_init__(self) -> None:
        if self.surrogate and self.optimizer != CMA:
            raise SettingsError(f"a surrogate assists the optimizer {CMA}, not {self.optimizer}; leave one of them out")
        if self.optimizer not in _PRESETS and not self.optimizer.startswith(NEVERGRAD):
            raise SettingsError(
                f"optimizer {self.optimizer!r} is unknown; choose {CMA}, {REFERENCE} or {NEVERGRAD}NAME"
            )
        self._refuse_unused({"step_size": STEP_SIZE, "population": POPULATION, "surrogate": None})
        if self.budget is not None:
            if not isinstance(self.budget, int) or isinstance(self.budget, bool):
                raise SettingsError(f"budget must be a whole number or None, got {self.budget!r}")
            if self.budget < 1:
                raise SettingsError(f"budget must be at least 1, got {self.budget}")
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed must be from 0 to 2^32 - 1, got {self.seed}")
        for name in ("bound", "step_size"):
            if not 0 < getattr(self, name) < np.inf:
                raise SettingsError(f"{name} must be a positive number, got {getattr(self, name)}")
        if self.step_size > 2 * self.bound:
            raise SettingsError(f"step_size must be at most {2 * self.bound:g}, all of the range, got {self.step_size}")
        if not 2 <= self.population <= _LARGEST_POPULATION:
            raise SettingsError(f"population must be from 2 to {_LARGEST_POPULATION}, got {self.population}")
        if self.regularization is not None and not 0 <= self.regularization < np.inf:
            raise SettingsError(f"regularization must be at least 0, got {self.regularization}")

    def _refuse_unused(self, defaults: Mapping[str, object]) -> None:
        """Refuses what is CMA-ES's alone, by the defaults of it, where another optimizer is asked for."""
        given = [name for name, default in defaults.items() if getattr(self, name) != default]
        if self.optimizer != CMA and given:
            raise SettingsError(
                f"optimizer {self.optimizer} has no use for {', '.join(given)}: for {CMA} alone; leave it out"
            )

    @property
    def assistable(self) -> bool:
        """Whether a surrogate could propose candidates."""
        return self.optimizer == CMA

    @property
    def preset(self) -> Preset:
        return _PRESETS.get(self.optimizer) or Preset(self.optimizer.removeprefix(NEVERGRAD))

    @property
    def assisted(self) -> bool:
        """Whether the surrogate proposes candidates, where it gets logits to learn from."""
        return self.assistable and self.surrogate is not False

    @property
    def strength(self) -> float:
        """The regularization that is in force."""
        if self.regularization is not None:
            return self.regularization
        return SURROGATE_REGULARIZATION if self.assisted else REGULARIZATION
