"""Weights behind a link, as in the Hub's cache. onnxruntime refuses those of another folder than the graph's."""

from __future__ import annotations

from pathlib import Path

from .manifest import WEIGHTS

# ONNX Runtime's option for a graph that comes as bytes: where its weights are.
FOLDER_OPTION = "session.model_external_initializers_file_folder_path"


def linked_weights(folder: Path) -> Path | None:
    """The file that a bundle's `weights.bin` leads to; None where it is no link."""
    path = folder / WEIGHTS
    return path.resolve() if path.is_symlink() else None


def graph_with_weights(graph: bytes, weights: Path) -> bytes:
    """A graph of a bundle, which names the weights by the name of that file."""
    import onnx  # takes a fifth of a second

    model = onnx.load_model_from_string(graph)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = weights.name
    data: bytes = model.SerializeToString()
    return data
