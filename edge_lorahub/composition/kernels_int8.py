"""The merge kernel for modules in int8 (paper composition), on ONNX Runtime's product of whole numbers.

NumPy multiplies no int8: the modules would be made float32 first, which takes as long as the product itself. So the
weights are written as whole numbers too, each with two digits, and a sum over modules is exact in those.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from ..machine.onnx_runtime import ort

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# The graph's inputs and output (`export/kernel_graph.py`).
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
    unit = np.where(largest == 0, 1, largest) / _LARGEST
    both = np.empty((*rest, 2, count, dimension), np.uint8)
    with np.errstate(invalid="ignore"):  # of what is not finite the digits mean nothing, and joins say so
        values = np.rint(weights / unit[..., None])
        high = np.rint(values / _BASE)
        both[..., 0, :, :] = high + ZERO
        both[..., 1, :, :] = values - _BASE * high + ZERO
        joins = unit[..., None] * np.tile(np.eye(count), 2)
        joins[..., :count] *= _BASE
    return both.reshape(*rest, 2 * count, dimension), joins.astype(np.float32)


def compose_paper_int8(
    weights: NDArray[np.uint8], joins: Float32, modules: NDArray[np.int8], out: Float32, scratch: Float32
) -> None:
    """The weighted sums of modules (N, P) into out (C, P), with weights and joins as `digits` gives them.

    modules must be C-contiguous; scratch has at least C P numbers, and is for one thread.
    """
    # bound: memory of each result's own would come from the system and go back to it
    sums = scratch[: out.size].reshape(out.shape)
    session = _session()
    binding = session.io_binding()
    for name, array in ((DIGITS, weights), (JOINS, joins), (MODULES, modules)):
        binding.bind_cpu_input(name, array)
    binding.bind_ortvalue_output(COMPOSED, ort.OrtValue.ortvalue_from_numpy(sums))
    session.run_with_iobinding(binding)
    out[:] = sums


@cache
def _session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the evaluator's workers each compose a part
    options.log_severity_level = 4
    graph = resources.files(__package__).joinpath("compose_int8.onnx").read_bytes()
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
