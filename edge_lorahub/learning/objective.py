"""What a candidate's loss is: of the losses by example or of the predicted texts, and with regularization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..examples.example import Example
from ..runtime.scoring import Losses

Float64 = NDArray[np.float64]

# What a loss that is not a finite number counts as: worse than any real one, below where nevergrad clips
# (5e20), and JSON can hold it.
WORST_LOSS = 1e20

# losses by example float64 (E,), or the predicted texts -> the candidate's loss
LossObjective = Callable[[Float64, Sequence[Example]], float]
TextObjective = Callable[[list[str], Sequence[Example]], float]
# candidates (C, N) -> what each one's weights add to its loss, (C,)
Penalties = Callable[[Float64], Float64]


def mean_loss(losses: Losses) -> float:
    """The default objective: the mean over examples of their mean token cross-entropy."""
    return float(losses.means().mean())


def reference_loss(losses: Losses) -> float:
    """The released code's loss: the mean over all tokens of one batch, divided by the number of examples.

    Its `default_get_loss` sums the batches' means and divides by the examples, not the batches.
    """
    return float(losses.sums.sum() / losses.tokens.sum() / len(losses.sums))


def regularization(population: Float64, strength: float, center: Float64 | None = None) -> Float64:
    """strength * mean |w - center|, for each candidate: (C, N) -> (C,). Around 0: the released code's get_regular."""
    offset = population if center is None else population - center
    penalty: Float64 = strength * np.abs(offset).mean(axis=1)
    return penalty


def number(value: object) -> float:
    """What a user's objective gave, as a number. Raises SettingsError for what is none."""
    if isinstance(value, (bool, int, float, np.integer, np.floating)):
        with suppress(OverflowError):  # a whole number beyond any float
            return float(value)
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "fiub":
        return float(value.item())
    raise SettingsError(f"the objective must give a number, got {type(value).__name__}: {value!r:.80}")


def finite(loss: float) -> float:
    """The loss, or WORST_LOSS for what is no finite number."""
    return float(loss) if np.isfinite(loss) else WORST_LOSS
