"""Answers to questions with whatever LoRA is set: written token by token, or chosen among several."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from ..bundle.prompt import Prompt
from ..composition.inputs import LoraInputs
from ..examples.example import Example
from ..runtime.binding import Runner
from ..runtime.generation import generate_with
from ..runtime.scoring import Batches, Scorer
from ..runtime.session import Model
from ..runtime.stopping import Stops
from .few_shot import STOP, Question

# Inputs whose choices are held as token ids at once.
_AT_ONCE = 64


def write(
    model: Model, lora: LoraInputs, questions: Sequence[Question], most: int, max_input_tokens: int, batch_size: int
) -> list[str]:
    """The greedy answers, of so many tokens at most.

    Where examples stand in the text, an answer ends before a next example, and has no space around it.
    """
    runner = Runner(model, "generate", lora)
    answers = [""] * len(questions)
    for prompt, as_text, places in _alike(questions):
        found = generate_with(
            runner,
            [questions[place].text for place in places],
            max_new_tokens=most,
            max_input_tokens=max_input_tokens,
            batch_size=batch_size,
            stops=Stops(STOP) if as_text else None,
            prompt=prompt,
        )
        for place, answer in zip(places, found, strict=True):
            answers[place] = answer.strip() if as_text else answer
    return answers


def choose(
    model: Model, lora: LoraInputs, questions: Sequence[Question], choices: Sequence[Sequence[str]],
    max_input_tokens: int,
) -> list[str]:  # fmt: skip
    """Of each question's choices the most likely answer: the least cross-entropy of all its tokens and its end."""
    runner = Runner(model, "score", lora)
    answers = [""] * len(questions)
    for prompt, _, places in _alike(questions):
        for begin in range(0, len(places), _AT_ONCE):
            some = places[begin : begin + _AT_ONCE]
            pairs = [Example(questions[place].text, choice) for place in some for choice in choices[place]]
            task = model.bundle.encode(pairs, max_input_tokens, sys.maxsize, prompt)
            losses = iter(Scorer(runner, Batches(model.bundle, task)).losses().sums)
            for place in some:
                own = [next(losses) for _ in choices[place]]
                answers[place] = choices[place][int(np.argmin(own))]
    return answers


def count_tokens(model: Model, questions: Sequence[Question], max_input_tokens: int) -> int:
    """What the model reads of all questions together."""
    rows = (
        model.bundle.sources([questions[place].text for place in places], max_input_tokens, prompt=prompt)
        for prompt, _, places in _alike(questions)
    )
    return sum(map(len, chain.from_iterable(rows)))


def _alike(questions: Sequence[Question]) -> Iterator[tuple[Prompt, bool, list[int]]]:
    """The places of questions within the same prompt."""
    groups: dict[tuple[Prompt, bool], list[int]] = {}
    for place, question in enumerate(questions):
        groups.setdefault((question.prompt, question.as_text), []).append(place)
    for (prompt, as_text), places in groups.items():
        yield prompt, as_text, places
