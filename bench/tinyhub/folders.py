"""Writing the hub: standard Hugging Face and PEFT folders in half precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import T5ForConditionalGeneration

from .model import tiny_config, tiny_tokenizer

# What the modules call their base. save_pretrained leaves it out of config.json.
BASE_MODEL = "edge-lorahub/tiny-t5"


def save_base(model: T5ForConditionalGeneration, folder: Path, card: str) -> None:
    """Write ``config.json``, ``model.safetensors``, ``tokenizer.json`` and the card."""
    folder.mkdir(parents=True, exist_ok=True)
    half = T5ForConditionalGeneration(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | {"_name_or_path": BASE_MODEL}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    _settle(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")


def load_base(folder: Path) -> T5ForConditionalGeneration:
    """The base of a hub in single precision, frozen.

    Read by hand, not with ``from_pretrained``, because that would draw a batch of random numbers first and so
    tie a module's seed to the library's version.
    """
    model = T5ForConditionalGeneration(tiny_config())
    state = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    shared = state["shared.weight"]
    state |= {"encoder.embed_tokens.weight": shared, "decoder.embed_tokens.weight": shared}
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def _settle(folder: Path) -> None:
    """Make the files the same on every run, and readable by everyone.

    peft writes ``target_modules`` in the order of a set, which differs between processes, and safetensors
    creates files that only their owner may read.
    """
    config = folder / "adapter_config.json"
    if config.exists():
        fields = json.loads(config.read_text(encoding="utf-8"))
        fields["target_modules"] = sorted(fields["target_modules"])
        config.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        path.chmod(0o644)


def save_module(model: Any, folder: Path, card: str) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` as peft does, in half precision, and the card."""
    model.peft_config["default"].base_model_name_or_path = BASE_MODEL
    # Embeddings are never trained here; "auto" would ask the Hub for the base's configuration to find that out.
    model.save_pretrained(folder, save_embedding_layers=False)
    weights = folder / "adapter_model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    _settle(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")
