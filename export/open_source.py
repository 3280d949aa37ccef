"""From what the user names to a source: a checkpoint's folder, a Hub id, or a GGUF file."""

from __future__ import annotations

from pathlib import Path

from edge_lorahub.files.kinds import HUB_ID
from edge_lorahub.files.user_path import user_path

from .gguf_file import SUFFIX, GgufFile
from .source.folder_source import FolderSource
from .source.model_source import ModelSource


def open_source(source: str | Path, revision: str | None = None) -> ModelSource:
    """Raises MissingPathError, CheckpointError, MissingDependencyError or HubError."""
    path = user_path(source)
    if path.is_file() and path.suffix.lower() == SUFFIX:
        return GgufFile(path)
    return FolderSource(source, revision)


def is_on_the_hub(source: str | Path) -> bool:
    """Whether `open_source` would ask the Hub for it, and may download a whole checkpoint."""
    return isinstance(source, str) and not user_path(source).exists() and HUB_ID.fullmatch(source) is not None
