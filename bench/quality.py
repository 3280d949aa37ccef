"""How good adapting is, measured on the embedded hub: exact match on held-out inputs of unseen tasks.

Every figure is of the runtime itself: `adapt` on five examples, greedy answers on 200 other inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_lorahub import Model, Modules, Settings
from edge_lorahub.bundle.prompt import Prompt
from edge_lorahub.composition.stack import make_stack
from edge_lorahub.examples.example import Example
from edge_lorahub.learning.loss_evaluator import LossEvaluator
from edge_lorahub.learning.objective import reference_loss, regularization
from edge_lorahub.learning.workbench import Workbench
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.generation import generate_with
from edge_lorahub.search.choose import make_strategy
from edge_lorahub.search.loop import search
from edge_lorahub.search.strategy import Observation, Proposal

Float64 = NDArray[np.float64]
SHOTS = 5
HELD_OUT = 200
MOST_NEW_TOKENS = 16  # the longest answer has 14


class Trial:
    """Exact match of weight vectors on held-out inputs."""

    def __init__(
        self, model: Model, modules: Modules, held_out: Sequence[Example], max_new_tokens: int = MOST_NEW_TOKENS,
        batch_size: int = HELD_OUT,
    ) -> None:  # fmt: skip
        self._held_out, self._max_new_tokens, self._batch_size = held_out, max_new_tokens, batch_size
        self._runners = {
            composition: Runner(model, "generate", make_stack(list(modules), model.manifest, composition).inputs())
            for composition in ("exact", "paper")
        }

    def right(self, weights: Float64, composition: str, prompt: Prompt | None = None) -> list[bool]:
        """Which answers are right, within the bundle's own prompt or another."""
        runner = self._runners[composition]
        runner.lora.inputs.compose(weights)
        texts = [example.input for example in self._held_out]
        answers = generate_with(
            runner, texts, max_new_tokens=self._max_new_tokens, batch_size=self._batch_size, prompt=prompt
        )
        # to the letter, as `evaluate` counts an exact match: capitals are part of the task
        return [answer == example.output for answer, example in zip(answers, self._held_out, strict=True)]

    def accuracy(self, weights: Float64, composition: str) -> float:
        right = self.right(weights, composition)
        return 100 * sum(right) / len(right)


def best_not_negative(model: Model, modules: Modules, shots: Sequence[Example], settings: Settings) -> Float64:
    """What the reference's search finds among weights of at least 0: shows which tasks need a negative one.

    Its candidates' signs are dropped, so that its start at w = 0 can move along every axis in either direction.
    """
    workbench = Workbench(
        model, make_stack(list(modules), model.manifest, "exact"), shots,
        max_input_tokens=settings.max_input_tokens,
        max_output_tokens=settings.max_output_tokens,
    )  # fmt: skip
    evaluate = LossEvaluator(workbench, partial(regularization, strength=settings.strength), reference_loss)

    def without_signs(proposal: Proposal) -> list[Observation]:
        seen = evaluate(replace(proposal, weights=np.abs(proposal.weights)))
        return [replace(o, weights=w) for o, w in zip(seen, proposal.weights, strict=True)]

    assert settings.budget is not None
    strategy = make_strategy(settings, len(modules), settings.budget)
    weights: Float64 = np.abs(search(without_signs, strategy, settings.budget).weights)
    return weights


def as_weights(named: dict[str, float]) -> Float64:
    """An adaptation's weights by name -> (N,), in the modules' order."""
    return np.array(list(named.values()))
