"""tokenizer_config.json, and the files that older checkpoints have beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError
from edge_lorahub.files.outputs import read_json

SETTINGS = "tokenizer_config.json"
# Special tokens by name, of before the settings had them.
OLDER_TOKENS = "special_tokens_map.json"


def read_settings(folder: Path, name: str = SETTINGS) -> dict[str, Any]:
    """A JSON file of a checkpoint's folder; empty where it is not there. Raises CheckpointError."""
    path = folder / name
    return read_json(path, CheckpointError) if path.exists() else {}
