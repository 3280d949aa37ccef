"""A GGUF file as a source of the exporter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from edge_lorahub.errors import CheckpointError
from edge_lorahub.tokenizer.tokenizer_file import one_error

from .gguf import GgufSource, open_gguf
from .gguf.gguf_chat_template import gguf_template
from .gguf.gguf_checkpoint import GgufCheckpoint
from .source.chat_templates import ChatTemplate

SUFFIX = ".gguf"
# How a file's name says in what type its numbers are: `Model.Q4_K_M.gguf`, `model-q8_0.gguf`, `model-f16.gguf`
_TYPE = re.compile(r"[-_.](i?q\d\w*|tq\d\w*|mxfp4\w*|bf16|f16|fp16|f32|fp32)$", re.IGNORECASE)


class GgufFile:
    """A `model_source.ModelSource`. Raises what `open_gguf` raises."""

    def __init__(self, path: Path) -> None:
        self._read: GgufSource = open_gguf(path)
        self.path = self.config_path = path
        self.config: Mapping[str, Any] = self._read.config
        tokens = {key: value for key, value in self.config.items() if key.endswith("_token_id")}
        self.token_files: Mapping[Path, Mapping[str, Any]] = {path: tokens}
        self.tokenizer_settings: Mapping[str, Any] = {}

    @property
    def base_model(self) -> str:
        """The file's name without what its numbers are in."""
        return _TYPE.sub("", self.path.stem)

    def chat_template(self, choice: str | None) -> ChatTemplate | None:
        return gguf_template(self._read, choice)

    def check(self, architecture: str) -> None:
        """All was looked at when it was opened."""

    def open(self) -> GgufCheckpoint:
        return self._read.checkpoint

    def tokenizer(self, *, convert: bool) -> Tokenizer:
        with one_error(lambda reason: CheckpointError(f"{self.path}: its tokenizer cannot be rebuilt ({reason})")):
            return Tokenizer.from_str(self._read.tokenizer_json)
