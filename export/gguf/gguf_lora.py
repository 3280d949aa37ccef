"""A LoRA file that llama.cpp applies to its own GGUF of the base model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge_lorahub.errors import MissingDependencyError, ModuleMismatchError
from edge_lorahub.lora.pair import Float32, Lora

from .known_architectures import ARCHITECTURES, Architecture

_LAYER = re.compile(r"(?:model\.)?layers\.(\d{1,5})\.(.+)", re.ASCII)
# llama.cpp's converter makes a Mistral a llama.
_SAME = {"mistral": "llama"}


def check_gguf() -> None:
    """Raises MissingDependencyError without the package gguf."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "a LoRA for llama.cpp takes the package gguf: pip install 'edge-lorahub[gguf]'"
        ) from error


def write_gguf_lora(
    path: Path, loras: Mapping[str, Lora], *, model_type: str, heads: int, kv_heads: int, name: str, base_model: str
) -> None:
    """Writes the file, in float32.

    loras by linear layer, as Hugging Face names it; model_type: config.json's. llama.cpp multiplies with alpha by each
    layer's own rank; alpha is the largest rank, and B makes up for a smaller one. Rows of B go where llama.cpp's
    converter puts those of the weight: of q and k, where it computes the rotary embedding on neighbors. Raises
    ModuleMismatchError for a layer, and for a model, that GGUF has no name for here, and MissingDependencyError.
    """
    check_gguf()
    import gguf

    kind, architecture = _architecture(model_type)
    parts = {theirs: ours for ours, theirs in architecture.layers.items()}
    rank = max(lora.a.shape[0] for lora in loras.values())
    writer = gguf.GGUFWriter(path, kind)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    if base_model:
        writer.add_string("general.base_model.0.name", base_model)
        writer.add_uint32("general.base_model.count", 1)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
    for layer, lora in loras.items():
        match = _LAYER.fullmatch(layer)
        if match is None or match[2] not in parts:
            raise ModuleMismatchError(f"{name}: {layer} is no linear layer of a {model_type} that GGUF has a name for")
        tensor = f"blk.{int(match[1])}.{parts[match[2]]}.weight"
        b = lora.scaled_b() * np.float32(lora.a.shape[0] / rank)
        if architecture.neighbors and match[2].endswith(("q_proj", "k_proj")):
            b = _on_neighbors(b, heads if match[2].endswith("q_proj") else kv_heads)
        writer.add_tensor(f"{tensor}.lora_a", np.ascontiguousarray(lora.a))
        writer.add_tensor(f"{tensor}.lora_b", np.ascontiguousarray(b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _architecture(model_type: str) -> tuple[str, Architecture]:
    wanted = _SAME.get(model_type, model_type)
    for kind, architecture in ARCHITECTURES.items():
        if architecture.model_type == wanted:
            return kind, architecture
    raise ModuleMismatchError(f"llama.cpp's names of the layers of a {model_type} are not known here")


def _on_neighbors(rows: Float32, heads: int) -> Float32:
    """Each head's rows (2, K / 2) -> (K / 2, 2), as llama.cpp's converter reorders q and k."""
    reordered: Float32 = rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)
    return reordered
