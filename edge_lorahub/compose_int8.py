"""The merge kernel for modules in int8 (paper composition), on ONNX Runtime's product of whole numbers.

NumPy multiplies no int8: the modules would be made float32 first, which takes as long as the product itself. So the
weights are written as whole numbers too, each with two digits, and a sum over modules is exact in those.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from .onnx_runtime import ort

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# The graph's inputs and output (`export/compose_graph.py`).
DIGITS, MODULES, JOINS, COMPOSED = "digits", "modules", "joins", "composed"
# A weight is base * high + low of its candidate's unit, with digits from -64 to 64: added to ZERO they are at most 128,
# and two products with int8 fit into the 16 bits in which processors without VNNI add them.
_BASE = 128
ZERO = _BASE // 2
_LARGEST = ZERO * _BASE


def digits(weights: Float64) -> tuple[NDArray[np.uint8], Float32]:
    """Weights (..., C, N) -> digits (..., 2 C, N), high ones first, and what joins their sums, (..., C, 2 C).

    weights ~ joins (digits - ZERO), to 1/16384 of a candidate's largest weight; 0 and the largest are exact.
    """
    *rest, count, dimension = weights.shape
    largest = np.abs(weights).max(axis=-1)  # (..., C)
    unit = np.where(largest > 0, largest, 1) / _LARGEST
    values = np.rint(weights / unit[..., None])
    high = np.rint(values / _BASE)
    both = np.empty((*rest, 2, count, dimension), np.uint8)
    both[..., 0, :, :] = high + ZERO
    both[..., 1, :, :] = values - _BASE * high + ZERO
    one = np.eye(count)
    joins = unit[..., None] * np.concatenate([_BASE * one, one], axis=1)
    return both.reshape(*rest, 2 * count, dimension), joins.astype(np.float32)


class Int8Product:
    """Weighted sums of modules in int8, for candidates (C, N); not for two threads at once."""

    def __init__(self, candidates: int, columns: int) -> None:
        """columns: the most of a call."""
        self._memory = np.empty(candidates * columns, np.float32)
        self._candidates = candidates
        self._session = _session()
        self._binding = self._session.io_binding()

    def __call__(self, weights: NDArray[np.uint8], joins: Float32, modules: NDArray[np.int8], out: Float32) -> None:
        """Of modules (N, P), C-contiguous, into out (C, P); weights and joins as `digits` gives them."""
        columns = modules.shape[1]
        # bound: memory of each result's own would come from the system and go back to it
        sums = self._memory[: self._candidates * columns].reshape(self._candidates, columns)
        value = ort.OrtValue.ortvalue_from_numpy(sums)
        for name, array in ((DIGITS, weights), (JOINS, joins), (MODULES, modules)):
            self._binding.bind_cpu_input(name, array)
        self._binding.bind_ortvalue_output(COMPOSED, value)
        self._session.run_with_iobinding(self._binding)
        out[:] = sums


@cache
def _session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the evaluator's workers each compose a part
    options.log_severity_level = 4
    graph = resources.files(__package__).joinpath("compose_int8.onnx").read_bytes()
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
