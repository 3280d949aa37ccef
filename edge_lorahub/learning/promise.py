"""Which modules look most promising for a task before any is tried: by what they say of themselves, and their size."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Sequence

from ..errors import ModuleFileError
from ..examples.example import Example
from ..files.reading import open_file
from ..lora.module import Module
from ..lora.modules import Modules

# A card's first lines say what a module is for; more is boilerplate.
_CARD_CHARACTERS = 2000
# What changes the layers by less than this share of what the median module does is tried last.
_HARDLY = 0.01
_WORD = re.compile(r"[^\W\d_]{2,}")


def promising(modules: Modules, examples: Sequence[Example], norms: Sequence[float] | None = None) -> list[int]:
    """The modules' places, the most promising first: the words that their name and card share with the examples.

    A word counts by how rare it is among the modules (the inverse document frequency). norms, of `change_of`: among
    modules that share as much, the one that changes more is first; one that hardly changes anything is last whatever
    it says. Without them such modules keep their order.
    """
    described = [_words(f"{module.name} {card_text(module)}") for module in modules]
    task = set().union(*(_words(f"{example.input} {example.output}") for example in examples))
    spread = Counter(word for words in described for word in words)
    scores = [
        sum(math.log(len(described) / spread[word]) for word in sorted(words & task)) / math.sqrt(len(words) or 1)
        for words in described
    ]
    norms = norms if norms is not None else [1.0] * len(scores)
    least = _HARDLY * statistics.median(norms)
    return sorted(range(len(scores)), key=lambda index: (norms[index] <= least, -scores[index], -norms[index]))


def change_of(module: Module) -> float:
    """How much a module changes the model's layers: the Frobenius norm of all its scaled B A together."""
    return math.sqrt(sum(lora.squared_norm() for _, lora in module.loras()))


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}


def card_text(module: Module) -> str:
    """The start of the module's README.md, without its metadata; empty where there is none."""
    try:
        with open_file(module.folder / "README.md", ModuleFileError) as file:
            text = file.read(4 * _CARD_CHARACTERS).decode("utf-8", errors="replace")
    except (OSError, ModuleFileError):
        return ""
    if text.startswith("---"):
        text = text.partition("\n---")[2]
    return text[:_CARD_CHARACTERS]
