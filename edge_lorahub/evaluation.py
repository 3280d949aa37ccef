"""Exact match on held-out examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .adapter import Adapter
from .errors import ExamplesError
from .examples import Example
from .generation import BATCH_SIZE, MAX_INPUT_TOKENS, MAX_NEW_TOKENS, generate
from .session import Model


@dataclass(frozen=True)
class Evaluation:
    """Predictions in the order of the examples, and how many of them are right."""

    predictions: tuple[str, ...]
    correct: tuple[bool, ...]

    @property
    def accuracy(self) -> float:
        """The share of right predictions, from 0 to 1."""
        return sum(self.correct) / len(self.correct)


def normalise(text: str) -> str:
    """What the released LoraHub code compares: no space at the ends, no capitals, no full stops."""
    return text.strip().lower().replace(".", "")


def evaluate(
    model: Model,
    examples: Sequence[Example],
    *,
    adapter: Adapter | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_input_tokens: int = MAX_INPUT_TOKENS,
    batch_size: int = BATCH_SIZE,
) -> Evaluation:
    """Greedy predictions, compared with the outputs after `normalise`."""
    if not examples:
        raise ExamplesError("no examples to evaluate on")
    predictions = generate(
        model,
        [example.input for example in examples],
        adapter=adapter,
        max_new_tokens=max_new_tokens,
        max_input_tokens=max_input_tokens,
        batch_size=batch_size,
    )
    correct = [normalise(p) == normalise(e.output) for p, e in zip(predictions, examples, strict=True)]
    return Evaluation(tuple(predictions), tuple(correct))
