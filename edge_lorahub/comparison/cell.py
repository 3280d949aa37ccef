"""What is measured at once: a method on one task with one seed, and the key under which its result is kept."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from .._version import __version__
from ..bundle.prompt import Prompt
from ..examples.example import Example, fingerprint
from ..files.typed_json import to_json
from .compared_methods import FEW_SHOT, Method

# Whose versions a search or an answer may depend on, beside the program's own.
_PACKAGES = ("onnxruntime", "numpy", "tokenizers", "nevergrad")


@dataclass(frozen=True)
class ModuleFolder:
    """A module under its name; sha256 is its `lora.identity`, card that of what a search reads of its card."""

    name: str
    folder: Path
    sha256: str
    card: str


@dataclass(frozen=True)
class CellSettings:
    """What all cells of a comparison share. max_new_tokens None: by the longest output of the inputs."""

    prompt: Prompt
    threads: int = 1
    max_input_tokens: int = 2048
    max_new_tokens: int | None = None
    batch_size: int = 16


@dataclass(frozen=True)
class Cell:
    """All that a cell needs, as texts, numbers and paths: it can be sent to another process, or another machine.

    choices: the possible answers to each input, None: answers are written. bundle_sha256 is the manifest's.
    """

    task: str
    seed: int
    method: Method
    bundle: Path
    bundle_sha256: str
    modules: tuple[ModuleFolder, ...]
    examples: tuple[Example, ...]
    inputs: tuple[Example, ...]
    choices: tuple[tuple[str, ...], ...] | None
    settings: CellSettings
    versions: Mapping[str, str]

    @property
    def name(self) -> str:
        """For messages."""
        return f"task {self.task}, seed {self.seed}, {self.method.label}"

    @cached_property
    def key(self) -> dict[str, Any]:
        """All that the result depends on, as JSON holds it."""
        modules = [[module.name, module.sha256, module.card] for module in self.modules]
        return {
            "task": self.task,
            "seed": self.seed,
            "method": to_json(self.method),
            "examples": fingerprint(self.examples),
            "inputs": fingerprint(self.inputs),
            "choices": None if self.choices is None else digest_of(self.choices),
            "settings": to_json(self.settings),
            "bundle": self.bundle_sha256,
            "modules": modules if self.method.needs_modules else None,
            "versions": dict(self.versions),
        }

    @cached_property
    def digest(self) -> str:
        return digest_of(self.key)

    @property
    def is_prompted(self) -> bool:
        return self.method.kind == FEW_SHOT


def digest_of(value: object) -> str:
    """The SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def versions() -> Mapping[str, str]:
    """The program's version and its libraries', as they run here."""
    return {"edge-lorahub": __version__, **{name: importlib.metadata.version(name) for name in _PACKAGES}}
