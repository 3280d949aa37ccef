"""Writing modules: standard PEFT folders in half precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from edge_lorahub.files.outputs import output_folder

from .base import BASE_MODEL

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def save_module(model: Any, folder: Path, card: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` as peft does, in float16, and the card.

    The folder appears whole or not at all. Its files are the same on every run: peft writes ``target_modules`` in the
    order of a set, and safetensors makes files that only their owner may read.
    """
    model.peft_config["default"].base_model_name_or_path = BASE_MODEL
    with output_folder(folder, force=False, names=()) as work:
        # Embeddings are never trained here; "auto" would ask the Hub for the base's configuration to find that out.
        model.save_pretrained(work, save_embedding_layers=False)
        weights = {name: tensor.half() for name, tensor in load_file(work / WEIGHTS).items()}
        save_file(weights, work / WEIGHTS, metadata={"format": "pt"})
        fields = json.loads((work / CONFIG).read_text(encoding="utf-8"))
        fields["target_modules"] = sorted(fields["target_modules"])
        (work / CONFIG).write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (work / "README.md").write_text(card, encoding="utf-8")
        for path in work.iterdir():
            path.chmod(0o644)
