"""Few-shot prompting: the examples as earlier turns of the same conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_lorahub.bundle.prompt import Prompt
from edge_lorahub.errors import SettingsError
from edge_lorahub.examples.example import Example


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
