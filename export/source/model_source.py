"""What a model is exported from, whatever files it lies in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from edge_lorahub.tensors.safetensors_file import Float32

from .chat_templates import ChatTemplate
from .generation_config import SpecialTokens


class Tensors(Protocol):
    """A checkpoint's tensors under Hugging Face's names, read one at a time."""

    @property
    def folder(self) -> Path:
        """Where they are, for messages."""
        ...

    @property
    def names(self) -> list[str]: ...

    def __contains__(self, name: str) -> bool: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def equal(self, name: str, other: str, *, rounded: bool = False) -> bool:
        """Whether two tensors hold the same numbers; rounded: or would, in the coarser dtype of the two."""
        ...

    def read(self, name: str, shape: tuple[int, ...]) -> Float32:
        """One tensor as float32. Raises CheckpointError where it is missing, of another shape, or not finite."""
        ...

    def unused(self) -> list[str]:
        """The tensors that were neither read nor compared, sorted."""
        ...


class ModelSource(Protocol):
    """A checkpoint's settings, tensors and tokenizer."""

    @property
    def path(self) -> Path:
        """The folder or the file."""
        ...

    @property
    def config_path(self) -> Path:
        """Where `config` is from, for messages."""
        ...

    @property
    def config(self) -> Mapping[str, Any]:
        """What config.json has, not checked."""
        ...

    @property
    def token_files(self) -> Mapping[Path, Mapping[str, Any]]:
        """The settings that name special tokens by id, the first that says something being right."""
        ...

    @property
    def base_model(self) -> str:
        """What the model is called."""
        ...

    def check(self, architecture: str) -> None:
        """Raises MissingPathError or CheckpointError, with what to do, where there are no tensors that can be read."""
        ...

    def open(self) -> AbstractContextManager[Tensors]: ...

    def tokenizer(self, *, convert: bool) -> Tokenizer:
        """The tokenizer, which neither cuts nor pads texts; convert: also from other files than tokenizer.json.

        Raises CheckpointError, MissingPathError or MissingDependencyError.
        """
        ...

    def chat_template(self, choice: str | None) -> ChatTemplate | None:
        """The chat template, None where there is none; choice: see `chat_templates.find_template`."""
        ...

    @property
    def tokenizer_settings(self) -> Mapping[str, Any]:
        """What tokenizer_config.json has; empty where the tokenizer itself says all."""
        ...


@dataclass(frozen=True)
class TextTokens:
    """A model's tokenizer and special tokens. eos: the token, of those that end an answer, that examples end with."""

    tokenizer: Tokenizer
    special: SpecialTokens
    eos: int
