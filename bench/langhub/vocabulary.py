"""The skills with the words of a model's vocabulary."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from edge_lorahub.export.gguf import open_gguf

from .skills import Skill, all_skills
from .words import read_words


def skills_of(tokenizer: Tokenizer) -> dict[str, Skill]:
    """The skills with a tokenizer's words. Raises MissingDependencyError."""
    return all_skills(read_words(tokenizer.get_vocab()))


def skills_in(path: Path) -> dict[str, Skill]:
    """The same, of a GGUF file's tokenizer."""
    return skills_of(Tokenizer.from_str(open_gguf(path).tokenizer_json))
