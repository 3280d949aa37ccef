"""The activations of a feed-forward, by transformers' names, and how a graph computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .onnx_graph import Graph


def _gelu(approximate: str) -> Callable[[Graph, str], str]:
    return lambda g, x: g.op("Gelu", [x], approximate=approximate)


def _sigmoid_gate(slope: float) -> Callable[[Graph, str], str]:
    """x sigmoid(slope x)."""

    def write(g: Graph, x: str) -> str:
        inner = x if slope == 1 else g.op("Mul", [x, g.constant(slope, np.float32)])
        return g.op("Mul", [x, g.op("Sigmoid", [inner])])

    return write


# ACT2FN of transformers has several names for one function, and more functions than T5's relatives use.
ACTIVATIONS: Mapping[str, Callable[[Graph, str], str]] = {
    "relu": lambda g, x: g.op("Relu", [x]),
    "gelu": _gelu("none"),
    "gelu_python": _gelu("none"),
    "gelu_new": _gelu("tanh"),
    "gelu_fast": _gelu("tanh"),
    "gelu_accurate": _gelu("tanh"),
    "gelu_pytorch_tanh": _gelu("tanh"),
    "silu": _sigmoid_gate(1),
    "swish": _sigmoid_gate(1),
    "quick_gelu": _sigmoid_gate(1.702),
    "sigmoid": lambda g, x: g.op("Sigmoid", [x]),
    "tanh": lambda g, x: g.op("Tanh", [x]),
    "linear": lambda _, x: x,
}
