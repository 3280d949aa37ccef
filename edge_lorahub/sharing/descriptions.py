"""What modules and tasks say in words, by which modules are found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import ModuleFileError
from ..examples.example import Example, check_examples
from ..files.reading import open_file
from ..hub.entry import CARD

# Characters of a card, and of examples, that are kept: more says no more of what a module is for.
_MOST = 8000
# Digests and code are of every card.
_NOT_WORDS = re.compile(r"^(```.*?^```|\|.*?\|$)|`[0-9a-f]{12,}`", re.DOTALL | re.MULTILINE)


def described(folder: Path) -> str:
    """What the card of a module's folder says, without its front, code and tables; empty where there is none."""
    text = ""
    with suppress(OSError, ModuleFileError), open_file(folder / CARD, ModuleFileError) as file:
        text = file.read(8 * _MOST).decode("utf-8", errors="replace").replace("\r\n", "\n")
    if text.startswith("---"):
        text = text[3:].partition("\n---")[2]
    return _NOT_WORDS.sub(" ", text)[:_MOST]


def examples_text(examples: Sequence[Example]) -> str:
    """The inputs and outputs of examples, as many as are kept. Raises SettingsError for what are no examples."""
    check_examples(examples)
    return "\n".join(f"{example.input}\n{example.output}" for example in examples)[:_MOST]


def text_of(name: str, tags: Sequence[str], card: str, examples: str = "") -> str:
    """All that is said of a module."""
    return "\n".join((name, *tags, card, examples))
