"""What a search has seen of its candidates, and what is said of it in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import Manifest
from ..composition.record import Composed, Record, Reused, SearchInputs
from ..composition.record import Losses as RecordedLosses
from ..errors import ObjectiveError, warn
from ..search.explain import Explanation
from ..search.loop import Found
from ..search.strategy import Observation
from .learned import Learned
from .objective import WORST_LOSS
from .recording import explained, tried
from .reuse import Collected, key_of
from .workbench import Workbench

Float64 = NDArray[np.float64]


class Seen:
    """The observations of one search, by their weights."""

    def __init__(
        self, workbench: Workbench, inputs: SearchInputs, origin: Mapping[str, str], manifest: Manifest,
        penalties: Callable[[Float64], Float64], *, own: bool,
    ) -> None:  # fmt: skip
        """What the search is of. penalties (C, N) -> (C,): part of each loss. own: the objective is the user's."""
        self._workbench, self._inputs, self._origin, self._manifest = workbench, inputs, origin, manifest
        self._penalties, self._own = penalties, own
        self._names = [module.name for module in inputs.modules]
        self._seen: dict[bytes, Observation] = {}
        self._collected = Collected(workbench.batches.tokens, manifest.model.vocab_size)

    def __contains__(self, weights: Float64) -> bool:
        return key_of(weights) in self._seen

    def __getitem__(self, weights: Float64) -> Observation:
        return self._seen[key_of(weights)]

    def add(self, observation: Observation) -> None:
        """Without the logits, which the strategy keeps as long as it needs them.

        Raises ObjectiveError where the plain model's own loss is no finite number.
        """
        self._seen[key_of(observation.weights)] = replace(observation, logits=None)
        self._collected.add(observation)
        known = self._workbench.known
        if known is not None and known.contradicted(observation):
            self._workbench.known = None
        # no weights would mend a plain model whose loss is no number
        if not self._own and not observation.weights.any() and observation.loss == WORST_LOSS:
            raise ObjectiveError(
                "the plain model's loss on the examples is not a finite number: the bundle's weights overflow, or are "
                "not finite; export it again from a checkpoint that works"
            )

    def check(self, found: Found) -> None:
        """Raises ObjectiveError where no candidate has a loss, and warns where none is better than the plain model."""
        count = len(found.trace)
        if all(candidate.loss == WORST_LOSS for candidate in found.trace):
            raise ObjectiveError(
                f"none of {count} candidates has a loss that is a finite number; "
                + ("mend the objective" if self._own else "the modules' numbers are too large for this model")
            )
        if not found.weights.any():
            warn(
                f"none of {count} candidates of optimizer {self._inputs.settings.optimizer} was better than the plain "
                "model, so the adapter changes nothing; try other modules, or more examples"
            )

    def learned(
        self, found: Found, explanation: Explanation | None, *, budget: int, seconds: float, spared: float,
        composed: tuple[Composed, ...] | None,
    ) -> Learned:  # fmt: skip
        """The search's result. What was found and the plain model must have been added.

        budget: the most candidates; seconds: what the search took; spared: the share of the work that racing saved;
        composed: what modules that are adapters are composed of. Warns of weights that do worse than the plain model.
        """
        had_weight = np.any([candidate.weights != 0 for candidate in found.trace], axis=0)
        untried = tuple(name for name, had in zip(self._names, had_weight, strict=True) if not had)
        before, chosen = self[np.zeros(len(self._names))], self[found.weights]
        plain, after = self._loss_alone(before), self._loss_alone(chosen)
        self._warn_where_worse(plain, after)
        weights = dict(zip(self._names, found.weights.tolist(), strict=True))
        known = self._workbench.known
        candidates = 0 if known is None else sum(known.has(candidate.weights) for candidate in found.trace)
        examples = 0 if known is None else known.examples
        record = Record(
            **vars(self._inputs),
            optimizer=found.optimizer,
            budget=budget,
            converged=found.converged,
            weights=weights,
            loss=RecordedLosses(plain, after, chosen.loss),
            seconds=round(seconds, 3),
            spared=round(spared, 4),
            untried=untried,
            reused=Reused(candidates, examples, candidates * examples),
            trace=tried(found.trace),
            explanation=None if explanation is None else explained(explanation, self._names),
            composed=composed,
        )
        return Learned(
            weights=weights,
            loss_before=plain,
            loss_after=after,
            losses_before=before.losses,
            losses_after=chosen.losses,
            optimizer=found.optimizer,
            composition=record.settings.composition,
            budget=budget,
            converged=found.converged,
            seconds=seconds,
            untried=untried,
            reused=candidates * examples,
            evaluations=self._collected.evaluations(self._origin, self._workbench.batches, found.weights),
            trace=found.trace,
            explanation=explanation,
            record=record,
            manifest=self._manifest,
        )

    def _loss_alone(self, observation: Observation) -> float:
        """The loss without regularization."""
        return observation.loss - float(self._penalties(observation.weights[None])[0])

    def _warn_where_worse(self, plain: float, after: float) -> None:
        if after > plain:
            start = self._inputs.start
            warn(
                f"the weights found have a loss of {after:.4f} without regularization, and the plain model "
                f"{plain:.4f}: the adapter makes the examples worse; "
                + (
                    "leave the weights to start from out"
                    if start and any(start.values())
                    else "try a smaller regularization"
                )
            )
