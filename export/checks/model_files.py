"""What transformers gets to see of a checkpoint's model: its settings and its safetensors.

In a checkpoint's own folder it would also take an adapter, and with it the name of another base model.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError
from edge_lorahub.files.outputs import read_json

# Arguments for a model's from_pretrained. config.json may name kernels on the Hub as its attention.
MODEL: Mapping[str, Any] = {"use_safetensors": True, "attn_implementation": "eager"}
_CONFIG = "config.json"
_CODE = ("auto_map", "custom_pipelines", "attn_implementation", "_attn_implementation")


@contextmanager
def model_files(folder: Path) -> Iterator[str]:
    """A folder with links to the weights, and with config.json but for what names code."""
    with tempfile.TemporaryDirectory() as links:
        for file in (*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")):
            Path(links, file.name).symlink_to(file.resolve())
        fields = read_json(folder / _CONFIG, CheckpointError)
        kept = {key: value for key, value in fields.items() if key not in _CODE}
        Path(links, _CONFIG).write_text(json.dumps(kept), encoding="utf-8")
        yield links
