"""How many answers are right, by two measures: to the letter, and as the released LoraHub code compares."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..bundle.prompt import Prompt
from ..composition.adapter import Adapter, check_adapter
from ..composition.prompt_record import warn_of_other_prompt
from ..composition.record_check import warn_of_learned_examples
from ..errors import ExamplesError, warn
from ..examples.example import Example, check_examples
from ..runtime.answers import answered
from ..runtime.generation import BATCH_SIZE, MAX_INPUT_TOKENS, MAX_NEW_TOKENS, check_limits, check_model, runner_for
from ..runtime.lost_text import warn_of_unreadable, warn_of_unwritable
from ..runtime.prompt_choice import PromptFormat, choose_prompt
from ..runtime.session import Model


class Kept(Protocol):
    """Predictions by the place of their example, as `bench.cells.Cells` keeps them on disk."""

    def __contains__(self, key: tuple[int]) -> bool: ...

    def __getitem__(self, key: tuple[int]) -> str: ...

    def record(self, key: tuple[int], value: str) -> None: ...


class _Memory(dict[tuple[int], str]):
    """Predictions that nothing keeps."""

    record = dict.__setitem__


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
    kept: Kept | None = None,
) -> Evaluation:
    """Greedy predictions, compared with the outputs.

    prompt and system: the texts around each input, as `generate` has them. on_answers is called after every batch
    with the number of examples that it answered. kept: has the predictions of an evaluation that was ended, and is
    told every other one as soon as it is there. Warns of outputs that the tokenizer cannot write, and of examples that
    the adapter was learned from. Raises ExamplesError if there are no examples, SettingsError for arguments of another
    kind or out of range.
    """
    check_model(model)
    check_examples(examples)
    check_adapter(adapter)
    check_limits(max_new_tokens=max_new_tokens, batch_size=batch_size, max_input_tokens=max_input_tokens)
    if adapter is not None and adapter.record is not None:
        warn_of_learned_examples(adapter.name, adapter.record, examples)
    chosen = choose_prompt(model.bundle, prompt, system, adapter)
    warn_of_unwritable(model.tokens, examples, chosen)
    _warn_of_long(model, examples, chosen, max_new_tokens)
    warn_of_other_prompt(adapter, chosen)
    runner = runner_for(model, adapter)
    rows = model.bundle.sources([example.input for example in examples], max_input_tokens, prompt=chosen)
    warn_of_unreadable(model.tokens, examples, rows)
    found: Kept = _Memory() if kept is None else kept
    for members, answers in answered(
        runner, rows, max_new_tokens=max_new_tokens, batch_size=batch_size, is_known=lambda place: (place,) in found
    ):
        for place, answer in zip(members, answers, strict=bool(answers)):
            if (place,) not in found:
                found.record((place,), answer)
        on_answers(len(members))
    return compare([found[(place,)] for place in range(len(rows))], examples)


def longest_output(model: Model, examples: Sequence[Example], prompt: Prompt) -> int:
    """The tokens of the longest output, without its end token; 0 for no examples."""
    return max(_lengths(model, examples, prompt), default=0)


def _lengths(model: Model, examples: Sequence[Example], prompt: Prompt) -> list[int]:
    return [len(row) - 1 for row in model.architecture.labels(model.tokens, prompt, examples, sys.maxsize)]


def _warn_of_long(model: Model, examples: Sequence[Example], prompt: Prompt, most: int) -> None:
    lengths = _lengths(model, examples, prompt)
    if max(lengths, default=0) <= most:
        return
    outputs = [example.output for example in examples]
    backs = model.tokens.read_back(outputs)
    # what the tokenizer cannot write was named already
    pairs = zip(lengths, outputs, backs, strict=True)
    if longer := sum(length > most and output == back for length, output, back in pairs):
        warn(
            f"{longer} of {len(lengths)} outputs have more than {most} tokens and can never match, as answers end "
            f"there; --max-new-tokens {max(lengths)} (max_new_tokens in Python) is enough for all"
        )


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
