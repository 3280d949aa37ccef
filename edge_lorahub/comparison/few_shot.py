"""Few-shot prompting: the examples before the input, as earlier turns of a conversation or as plain text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..bundle.prompt import Prompt
from ..errors import SettingsError
from ..examples.example import Example
from ..runtime.opened import OpenBundle

# Where the next example would begin: models go on with one of their own.
STOP = "\n\nInput:"


@dataclass(frozen=True)
class Question:
    """A text within a prompt. examples: how many stand before the input; as_text: in the text itself."""

    prompt: Prompt
    text: str
    examples: int = 0
    as_text: bool = False


def questions(
    bundle: OpenBundle, prompt: Prompt, examples: Sequence[Example], inputs: Sequence[Example], room: int
) -> list[Question]:
    """Each input behind as many of the examples, from the last, as leave it within `room` tokens.

    They are turns of the conversation where the prompt has turns, and else lines of plain text.
    """
    left = list(range(len(inputs)))
    found: dict[int, Question] = {}
    for count in range(len(examples), -1, -1):
        asked = [_question(prompt, examples[len(examples) - count :], inputs[place].input) for place in left]
        for place, one in zip(left, asked, strict=True):
            (row,) = bundle.sources([one.text], sys.maxsize, prompt=one.prompt)
            if len(row) <= room or not count:
                found[place] = one
        left = [place for place in left if place not in found]
    return [found[place] for place in range(len(inputs))]


def _question(prompt: Prompt, examples: Sequence[Example], text: str) -> Question:
    try:
        return Question(with_examples(prompt, examples), text, len(examples))
    except SettingsError:
        shown = "".join(f"Input: {one.input}\nOutput:\n{one.output}\n\n" for one in examples)
        return Question(prompt, f"{shown}Input: {text}\nOutput:\n", len(examples), as_text=True)


def with_examples(prompt: Prompt, examples: Sequence[Example]) -> Prompt:
    """A prompt before whose input each example is a turn: asked, and answered with its output.

    Raises SettingsError for a prompt that does not tell where a later turn begins.
    """
    opening = _opening(prompt)
    turns = ["".join(prompt.source(one.input)) + prompt.label(one.output) for one in examples]
    asked = [turn.removeprefix(prompt.before) for turn in turns]
    return replace(prompt, before=prompt.before + "".join(f"{turn}{opening}" for turn in asked))


def _opening(prompt: Prompt) -> str:
    """What stands before the input of a later turn: what is behind a system text, but for the end of its turn."""
    behind = prompt.system_after or ""
    if not prompt.end or not behind.startswith(prompt.end) or not prompt.before.endswith(behind):
        raise SettingsError("a prompt without turns that end alike, so examples cannot be turns of it")
    return behind.removeprefix(prompt.end)
