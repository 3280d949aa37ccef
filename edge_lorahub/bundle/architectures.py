"""The architectures that a bundle can have, and the files that their graphs may be in."""

from __future__ import annotations

from . import encoder_decoder

ENCODER_DECODER = "encoder-decoder"
ARCHITECTURES = (ENCODER_DECODER,)
# How the base's matrices are held: float32, or int8 with a scale for each output column.
PRECISIONS = ("fp32", "int8")
# Every file that a graph of a bundle can be in.
GRAPH_FILES = tuple(
    dict.fromkeys(name for precision in PRECISIONS for g in encoder_decoder.graphs(precision) for name in g.files)
)
