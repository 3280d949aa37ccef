"""A Hugging Face checkpoint's folder, or the Hub's copy of one, as a source."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from edge_lorahub.errors import CheckpointError
from edge_lorahub.files.outputs import read_json
from edge_lorahub.files.user_path import user_path

from .chat_templates import ChatTemplate, find_template
from .checkpoint import Checkpoint
from .generation_config import CONFIG, token_files
from .refusals import check_weights, source_folder
from .tokenizer import read_tokenizer
from .tokenizer_settings import read_settings


class FolderSource:
    """A `model_source.ModelSource`."""

    def __init__(self, source: str | Path, revision: str | None = None) -> None:
        """Raises MissingPathError or CheckpointError where it is no checkpoint, or HubError."""
        self._source, self._revision = source, revision
        self.path = source_folder(source, revision)
        self.config_path = self.path / CONFIG

    @cached_property
    def config(self) -> Mapping[str, Any]:
        return read_json(self.config_path, CheckpointError)

    @cached_property
    def token_files(self) -> Mapping[Path, Mapping[str, Any]]:
        return token_files(self.path)

    @property
    def base_model(self) -> str:
        """The Hub id, or for a local folder what its config.json says it came from, or its name.

        The Hub's fine-tuned models often keep their parent's name in config.json, so there the id goes first.
        """
        if user_path(self._source).is_dir():
            return str(self.config.get("_name_or_path") or "") or str(self._source)
        return str(self._source)

    def check(self, architecture: str) -> None:
        check_weights(self._source, self.path, architecture, self._revision)

    def open(self) -> Checkpoint:
        return Checkpoint(self.path)

    def tokenizer(self, *, convert: bool) -> Tokenizer:
        return read_tokenizer(self.path, convertible=convert)

    def chat_template(self, choice: str | None) -> ChatTemplate | None:
        return find_template(self.path, choice)

    @cached_property
    def tokenizer_settings(self) -> Mapping[str, Any]:
        return read_settings(self.path)
