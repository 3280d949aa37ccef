"""Building an ONNX graph by hand, its weights streamed into an external data file."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_lorahub.bundle.manifest import ALIGNMENT
from edge_lorahub.tensors.safetensors_file import Float32

OPSET = 23
MICROSOFT = "com.microsoft"
IR_VERSION = 11

Dims = Sequence[int | str]
# Name and shape of a checkpoint's tensor -> the tensor as float32.
Read = Callable[[str, tuple[int, ...]], Float32]


class WeightFile:
    """The external data file of both graphs, written once from front to end.

    A weight that both graphs use is added once by name; the second graph refers to the same bytes.
    Weights are float32 or int8.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._position = 0
        self._entries: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}

    def add(self, name: str, array: Float32 | NDArray[np.int8]) -> None:
        padding = -self._position % ALIGNMENT
        self._write(b"\0" * padding)
        self._entries[name] = (self._position, array.shape, array.dtype)
        # rows at a time: a transposed weight is not contiguous, and a contiguous copy of the embedding
        # would cost its whole size once more
        rows = max(1, (1 << 24) // max(1, array[0].nbytes)) if array.ndim else 1
        for start in range(0, len(array), rows):
            self._write(np.ascontiguousarray(array[start : start + rows]).data)

    def offset(self, name: str) -> int:
        return self._entries[name][0]

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def initializer(self, name: str) -> TensorProto:
        """A reference to a weight that was added, for a graph's list of initializers."""
        offset, shape, dtype = self._entries[name]
        tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(dtype), dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        length = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        for key, value in (("location", self.path.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def close(self) -> str:
        """Closes the file and gives its SHA-256."""
        self._file.close()
        return self._digest.hexdigest()

    def _write(self, data: Any) -> None:
        self._file.write(data)
        self._digest.update(data)
        self._position += len(data) if isinstance(data, bytes) else data.nbytes


class Graph:
    """An ONNX graph under construction. `op` adds a node and gives the name of its output."""

    def __init__(self, name: str, weights: WeightFile | None = None) -> None:
        self.name = name
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._count = itertools.count()

    def input(self, name: str, dims: Dims, dtype: int = TensorProto.FLOAT) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, dims))
        return name

    def output(self, value: str, name: str, dims: Dims) -> None:
        """Makes a value an output under that name."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))

    def declare_output(self, name: str, dims: Dims) -> None:
        """Makes a value that a node has already written under its final name an output."""
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))

    def weight(self, name: str) -> str:
        """A weight of the external data file, which must have been added there."""
        if name not in self._initializers:
            assert self._weights is not None
            self._initializers[name] = self._weights.initializer(name)
        return name

    def constant(self, value: int | float | Sequence[int], dtype: Any = np.int64) -> str:
        """A small constant, held in the graph itself; equal ones are shared."""
        array: NDArray[Any] = np.asarray(value, dtype=dtype)
        name = f"const.{array.dtype}.{'_'.join(map(str, array.ravel().tolist()))}.{array.ndim}"
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(array, name)
        return name

    def op(self, kind: str, inputs: Sequence[str], *, domain: str = "", **attributes: Any) -> str:
        return self.ops(kind, inputs, [""], domain=domain, **attributes)[0]

    def ops(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str | None],
        *,
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """A node with several outputs: "" asks for a made-up name, None for no such output."""
        stem = f"{kind}.{next(self._count)}"
        names = ["" if out is None else out or f"{stem}.{index}" for index, out in enumerate(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=stem, domain=domain, **attributes))
        return names

    def save(self, path: Path) -> None:
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, list(self._initializers.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="edge-lorahub")
        model.ir_version = IR_VERSION
        path.write_bytes(model.SerializeToString(deterministic=True))
