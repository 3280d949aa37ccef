"""Answers of the plain model and of an adapter to examples, made for a page: a record has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..bundle.prompt import Prompt
from ..composition.adapter import Adapter
from ..composition.record_check import digest_front
from ..errors import ExamplesError
from ..evaluation.matches import longest_output
from ..examples.example import Example, check_examples
from ..runtime.generation import MAX_INPUT_TOKENS, MAX_NEW_TOKENS, generate
from ..runtime.session import Model


@dataclass(frozen=True)
class Answered:
    """An example and both answers; learned: whether the adapter was learned from it."""

    input: str
    output: str
    plain: str
    adapted: str
    learned: bool


@dataclass(frozen=True)
class Answers:
    """Answers in the examples' order."""

    rows: Sequence[Answered]

    def right(self, answer: Callable[[Answered], str]) -> int:
        """How many answers of a kind are the output to the letter."""
        return sum(answer(row) == row.output for row in self.rows)


def answer(
    model: Model,
    adapter: Adapter,
    examples: Sequence[Example],
    prompt: Prompt,
    max_input_tokens: int = MAX_INPUT_TOKENS,
) -> Answers:
    """Both answers to each example, as long as the longest output at least. Raises ExamplesError for no examples."""
    check_examples(examples)
    if not examples:
        raise ExamplesError("no examples to answer")
    texts = [example.input for example in examples]
    most = max(MAX_NEW_TOKENS, longest_output(model, examples, prompt))
    # the graphs that take an adapter first: they do for the plain model too
    adapted, plain = (
        generate(model, texts, adapter=one, max_new_tokens=most, max_input_tokens=max_input_tokens, prompt=prompt)
        for one in (adapter, None)
    )
    known = set() if adapter.record is None else set(adapter.record.examples.each)
    return Answers(
        tuple(
            Answered(example.input, example.output, before, after, digest_front(example) in known)
            for example, before, after in zip(examples, plain, adapted, strict=True)
        )
    )
