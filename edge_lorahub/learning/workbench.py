"""What evaluating candidates takes, made once: the examples in batches, memory for candidates, and graphs to run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..bundle.prompt import Prompt
from ..composition.stack import Stack
from ..examples.example import Example
from ..label_logits import LabelLogits
from ..runtime.binding import LoraValues, Runner
from ..runtime.pool import Workers
from ..runtime.scoring import Batches, Scorer
from ..runtime.session import Model
from ..runtime.tokens import BATCH_TOKENS
from ..search.evaluations import Evaluations
from .preparation import Preparation
from .reuse import Known

Float64 = NDArray[np.float64]
# of one example: the sum over its label tokens (nats), and the logits there where they were asked for
Scored = tuple[float, LabelLogits | None]


class ScoringWorker:
    """Scores batches with the LoRA of one candidate at a time. For one thread."""

    def __init__(self, runner: Runner, batches: Batches) -> None:
        self._runner, self._scorer = runner, Scorer(runner, batches)

    def score(self, candidate: LoraValues, batch: int, keep: int) -> list[Scored]:
        self._runner.lora = candidate
        return self._scorer.batch(batch, keep)


class Workbench:
    """Shared by all that evaluates candidates of one stack on the same examples.

    known: what an earlier search has seen of them; None: nothing, or nothing that is right here.
    """

    def __init__(
        self,
        model: Model,
        stack: Stack,
        examples: Sequence[Example],
        *,
        max_input_tokens: int,
        max_output_tokens: int,
        batch_tokens: int = BATCH_TOKENS,
        earlier: Evaluations | None = None,
        center: Float64 | None = None,
        workers: int = 1,
        prompt: Prompt | None = None,
    ) -> None:
        """earlier: evaluations of the same model and modules; what they know is not evaluated again.

        But for the plain model and the center, the weights (N,) that the search begins with, which show whether it is
        right. workers: how many candidates run at once, each on its share of the model's threads.
        prompt: the texts around each example, None: the bundle's own.
        """
        self.examples = examples
        self.max_input_tokens = max_input_tokens
        self.prompt = prompt
        arrange = None if earlier is None else earlier.parts
        task = model.bundle.encode(examples, max_input_tokens, max_output_tokens, prompt)
        self.batches = Batches(model.bundle, task, batch_tokens, arrange)
        self.known = None if earlier is None else Known(earlier, self.batches, model.manifest.precision, center)
        self.prepare = Preparation(stack, workers)
        self._model, self._workers = model, workers

    def generating(self) -> Workers[Runner]:
        """Loads the graphs that generate."""
        return Workers(self._runners("generate", short=False))

    def scoring(self, *, short: bool = False) -> Workers[ScoringWorker]:
        """Loads the graphs that score; short: those for short outputs."""
        return Workers([ScoringWorker(runner, self.batches) for runner in self._runners("score", short=short)])

    def _runners(self, role: str, *, short: bool) -> list[Runner]:
        inputs = self.prepare.inputs
        return [Runner(self._model, role, inputs, short=short, at_once=self._workers) for _ in range(self._workers)]
