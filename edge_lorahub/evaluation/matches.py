"""How many answers are right, by two measures: to the letter, and as the released LoraHub code compares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..composition.adapter import Adapter
from ..errors import ExamplesError
from ..examples.example import Example, check_examples
from ..runtime.generation import BATCH_SIZE, MAX_INPUT_TOKENS, MAX_NEW_TOKENS, generate
from ..runtime.prompt_choice import PromptFormat
from ..runtime.session import Model
from ..runtime.unwritable import warn_of_unwritable


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Predictions in the order of the examples, and which of them are right, by two measures.

    exact: the prediction is the output, to the letter. normalized: both are the same after `normalize`. What is
    exact is normalized too.
    """

    predictions: tuple[str, ...]
    exact: tuple[bool, ...]
    normalized: tuple[bool, ...]

    @property
    def exact_match_percent(self) -> float:
        """The share of exact predictions, from 0 to 100."""
        return _percent(self.exact)

    @property
    def normalized_match_percent(self) -> float:
        """The share of predictions that are right after `normalize`, from 0 to 100."""
        return _percent(self.normalized)

    def __repr__(self) -> str:
        """In short: there may be thousands of predictions."""
        return (
            f"Evaluation({len(self.predictions)} predictions, exact match {self.exact_match_percent:.1f} %, "
            f"normalized match {self.normalized_match_percent:.1f} %)"
        )


def normalize(text: str) -> str:
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
    on_answers: Callable[[int], None] = lambda count: None,
    prompt: PromptFormat = None,
    system: str | None = None,
) -> Evaluation:
    """Greedy predictions, compared with the outputs.

    prompt and system: the texts around each input, as `generate` has them. on_answers is called after every batch
    with the number of examples that it answered. Warns of outputs that the tokenizer cannot write. Raises ExamplesError
    if there are no examples, SettingsError if they are none.
    """
    check_examples(examples)
    warn_of_unwritable(model.tokens, examples)
    predictions = generate(
        model,
        [example.input for example in examples],
        adapter=adapter,
        max_new_tokens=max_new_tokens,
        max_input_tokens=max_input_tokens,
        batch_size=batch_size,
        on_answers=on_answers,
        prompt=prompt,
        system=system,
    )
    return compare(predictions, examples)


def compare(predictions: Sequence[str], examples: Sequence[Example]) -> Evaluation:
    """Predictions, one an example, beside the outputs. Raises ExamplesError if there are none."""
    if not examples:
        raise ExamplesError("no examples to evaluate on")
    pairs = [(p, example.output) for p, example in zip(predictions, examples, strict=True)]
    return Evaluation(
        predictions=tuple(predictions),
        exact=tuple(prediction == output for prediction, output in pairs),
        normalized=tuple(normalize(prediction) == normalize(output) for prediction, output in pairs),
    )


def _percent(right: Sequence[bool]) -> float:
    return 100 * sum(right) / len(right)
