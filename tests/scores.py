"""The losses of examples, once: what several test files compare."""

from __future__ import annotations

from collections.abc import Sequence

from edge_lorahub import Example
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.scoring import Batches, Losses, Scorer


def score(runner: Runner, examples: Sequence[Example], max_input_tokens: int, max_output_tokens: int) -> Losses:
    """With what the runner's LoRA inputs hold."""
    return Scorer(runner, Batches(runner.model.tokens, examples, max_input_tokens, max_output_tokens)).losses()
