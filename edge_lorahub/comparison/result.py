"""What measuring a cell gives, as it lies on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Seconds:
    """How long a cell took: to find weights, and to answer all inputs."""

    learn: float
    answer: float


@dataclass(frozen=True)
class Machine:
    """Where a cell was measured; threads are those of ONNX Runtime."""

    processor: str
    system: str
    threads: int


@dataclass(frozen=True)
class Result:
    """Answers by input, and how they came about.

    exact and normalized have a 1 for every answer that is right, a 0 for every other. weights: by module, None for
    methods without modules. trace: the least loss so far by candidate, with regularization. input_tokens: of all inputs
    together, as the model reads them. shortened: how many inputs had no room for all examples before them. warnings:
    what the runtime warned of.
    """

    predictions: tuple[str, ...]
    exact: str
    normalized: str
    input_tokens: int
    shortened: int
    seconds: Seconds
    machine: Machine
    weights: Mapping[str, float] | None = None
    trace: tuple[float, ...] | None = None
    best_single: str | None = None
    warnings: tuple[str, ...] = ()
