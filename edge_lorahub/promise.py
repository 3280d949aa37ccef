"""Which modules look most promising for a task before any is tried: by what they say of themselves."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from .errors import ModuleFileError
from .examples import Example
from .modules import Modules
from .peft_files import Module
from .reading import open_file

# A card's first lines say what a module is for; more is boilerplate.
_CARD_CHARACTERS = 2000
_WORD = re.compile(r"[^\W\d_]{2,}")


def promising(modules: Modules, examples: Sequence[Example]) -> list[int]:
    """The modules' places, the most promising first: the words that their name and card share with the examples.

    A word counts by how rare it is among the modules (the inverse document frequency). Modules that share none keep
    their order.
    """
    described = [_words(f"{module.name} {_card(module)}") for module in modules]
    task = set().union(*(_words(f"{example.input} {example.output}") for example in examples))
    spread = Counter(word for words in described for word in words)
    scores = [
        sum(math.log(len(described) / spread[word]) for word in sorted(words & task)) / math.sqrt(len(words) or 1)
        for words in described
    ]
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}


def _card(module: Module) -> str:
    """The start of the module's README.md, without its metadata; empty where there is none."""
    try:
        with open_file(module.folder / "README.md", ModuleFileError) as file:
            text = file.read(4 * _CARD_CHARACTERS).decode("utf-8", errors="replace")
    except (OSError, ModuleFileError):
        return ""
    if text.startswith("---"):
        text = text.partition("\n---")[2]
    return text[:_CARD_CHARACTERS]
