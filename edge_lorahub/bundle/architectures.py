"""The architectures that a bundle can have, and what of each is known without running it.

This is the one list of them. What is of one architecture alone is in a module beside this one, and in the room of the
runtime that is called as the manifest calls it.
"""

from __future__ import annotations

from . import decoder_only, encoder_decoder
from .graphs import Graph

ENCODER_DECODER = "encoder-decoder"
DECODER_ONLY = "decoder-only"
ARCHITECTURES = (ENCODER_DECODER, DECODER_ONLY)
# How the base's matrices are held: float32, or int8 with a scale for each output column.
PRECISIONS = ("fp32", "int8")

# peft's name for what a model of an architecture does.
TASK_TYPES = {ENCODER_DECODER: encoder_decoder.TASK_TYPE, DECODER_ONLY: decoder_only.TASK_TYPE}
# How the paths of linear layers begin, with which no "model." belongs to the path.
ROOTS = encoder_decoder.ROOTS
SOURCE_LAYERS = encoder_decoder.SOURCE_LAYERS

_GRAPHS = {ENCODER_DECODER: encoder_decoder.graphs, DECODER_ONLY: decoder_only.graphs}


def graphs_of(architecture: str, precision: str) -> tuple[Graph, ...]:
    """The graphs that a bundle of that architecture and precision has."""
    return _GRAPHS[architecture](precision)


# Every file that a graph of a bundle can be in.
GRAPH_FILES = tuple(
    dict.fromkeys(
        name
        for architecture in ARCHITECTURES
        for precision in PRECISIONS
        for graph in graphs_of(architecture, precision)
        for name in graph.files
    )
)
