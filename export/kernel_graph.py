"""Writes `compose_int8.onnx`, the product of whole numbers that `composition.kernels_int8` composes with.

`python -m edge_lorahub.export.kernel_graph FILE`; a test compares the package's file with what this gives.
"""

from __future__ import annotations

import sys
from pathlib import Path

from onnx import TensorProto

from edge_lorahub.composition.kernels_int8 import COMPOSED, DIGITS, JOINS, MODULES, ZERO

from .blocks.onnx_graph import Graph


def compose_graph() -> Graph:
    """digits uint8 (D, N), modules int8 (N, P), joins float32 (C, D) -> joins ((digits - ZERO) modules), (C, P)."""
    g = Graph("compose_int8")
    digits = g.input(DIGITS, ("D", "N"), TensorProto.UINT8)
    modules = g.input(MODULES, ("N", "P"), TensorProto.INT8)
    sums = g.op("MatMulInteger", [digits, modules, g.constant(ZERO, "uint8")])
    joins = g.input(JOINS, ("C", "D"))
    g.ops("MatMul", [joins, g.op("Cast", [sums], to=TensorProto.FLOAT)], [COMPOSED])
    g.declare_output(COMPOSED, ("C", "P"))
    return g


if __name__ == "__main__":
    compose_graph().save(Path(sys.argv[1]))
