"""What a search found, as `adapt` gives it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import Manifest
from ..composition.adapter import Adapter, from_pairs
from ..composition.pairs import compose_pairs
from ..composition.record import Record
from ..lora.modules import Modules
from ..search.evaluations import Evaluations
from ..search.explain import Explanation
from ..search.strategy import Candidate

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """What a search found. weights maps module names to w; the losses are without regularization.

    losses_before and losses_after (E,) are the examples' mean token cross-entropies, of the plain model and of what was
    learned; None where the objective did not compute them. budget: the most candidates that it was to evaluate, of
    which trace has those that it did; converged: it ended earlier, as it saw nothing more to gain. untried: modules
    that no candidate had. reused: how many evaluations of an example came from an earlier search. evaluations: what a
    later one can use of this one's; None where no surrogate assisted. explanation: what the surrogate says of the
    result, where one assisted. record goes beside the adapter. No adapter yet: its matrices can be larger than the
    model's, which may go first.
    """

    weights: dict[str, float]
    loss_before: float
    loss_after: float
    losses_before: Float64 | None
    losses_after: Float64 | None
    optimizer: str
    composition: str
    budget: int
    converged: bool
    seconds: float
    untried: tuple[str, ...] = field(repr=False)
    reused: int
    evaluations: Evaluations | None = field(repr=False)
    trace: tuple[Candidate, ...] = field(repr=False)
    explanation: Explanation | None = field(repr=False)
    record: Record = field(repr=False)
    manifest: Manifest = field(repr=False)

    def compose(self, modules: Modules) -> Adapter:
        """The composition of the modules that were learned with, at the weights found."""
        weights = np.array([self.weights[module.name] for module in modules])
        pairs = compose_pairs(list(modules), weights, self.composition)
        adapter = from_pairs(pairs, self.manifest, "adapted", self.record)
        return replace(adapter, evaluations=self.evaluations)

    @property
    def best_single(self) -> str | None:
        """The module that had the least loss alone, at a weight of 0.8; None where the search did not try them so."""
        alone = [candidate for candidate in self.trace if candidate.phase == "probing"]
        if not alone:
            return None
        return list(self.weights)[int(np.flatnonzero(min(alone, key=lambda c: c.loss).weights)[0])]


@dataclass(frozen=True)
class Adaptation(Learned):
    """What `adapt` found, and the modules that it is of."""

    modules: Modules = field(repr=False)

    @cached_property
    def adapter(self) -> Adapter:
        """The composition of the modules at the weights found, made when it is first asked for."""
        return self.compose(self.modules)
