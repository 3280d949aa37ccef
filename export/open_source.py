"""From what the user names to a source: a checkpoint's folder, a Hub id, or a GGUF file."""

from __future__ import annotations

from pathlib import Path

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
