"""nevergrad's optimizers, by their names in its registry."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError

Float64 = NDArray[np.float64]


class NevergradOptimizer:
    """Asks for one candidate at a time."""

    def __init__(self, name: str, dimension: int, *, budget: int, bound: float, seed: int) -> None:
        """Raises SettingsError for a name that nevergrad does not have or cannot use here."""
        import nevergrad as ng  # slow to import, and needed here alone

        # of a Cobyla that is asked for less than it wants: nothing that a user could mend
        warnings.filterwarnings("ignore", module=r"scipy\._lib\.pyprima", category=UserWarning)
        if name not in ng.optimizers.registry:
            near = difflib.get_close_matches(name, ng.optimizers.registry.keys(), 3)
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise SettingsError(f"nevergrad has no optimizer {name!r}{hint}")
        space = ng.p.Array(init=[0.0] * dimension, lower=[-bound] * dimension, upper=[bound] * dimension)
        space.random_state.seed(seed)
        self._name = name
        with self._usable():
            self._optimizer = ng.optimizers.registry[name](space, budget=budget, num_workers=1)
        self._asked: Any = None

    def ask(self) -> Float64:
        """One candidate, (1, N)."""
        with self._usable():
            self._asked = self._optimizer.ask()
        return np.array([self._asked.value], np.float64)

    def tell(self, loss: float) -> None:
        """The loss of the candidate that was asked for last."""
        self._optimizer.tell(self._asked, loss)

    def recommendation(self) -> Float64:
        """What the optimizer thinks best, (N,); not always a candidate that it asked for."""
        return np.array(self._optimizer.provide_recommendation().value, np.float64)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (ImportError, RuntimeError) as error:  # some of nevergrad's need packages that it does not bring
            reason = " ".join(str(error).split())
            raise SettingsError(f"nevergrad's {self._name} cannot be used here: {reason}") from error


def begin_import() -> None:
    """Imports nevergrad on a thread of its own: it takes a second, in which a model can be loaded."""

    def work() -> None:
        # what fails here fails again where it is needed, and is reported there
        with contextlib.suppress(Exception):
            importlib.import_module("nevergrad")

    threading.Thread(target=work).start()
