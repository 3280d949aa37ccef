"""A session's runs, whose inputs and outputs are bound to NumPy's memory without copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BundleError, SettingsError
from ...machine.onnx_runtime import ort
from ...machine.shortage import ADVICE, is_shortage, shortage

Array = NDArray[Any]
Float32 = NDArray[np.float32]


class Binding:
    """A session with its inputs and outputs bound; called, it runs with whatever the arrays hold by then."""

    def __init__(
        self, session: ort.InferenceSession, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
    ) -> None:
        """Raises SettingsError for an input that the graph does not have: it would be left out without a word."""
        self._session = session
        self._binding = session.io_binding()
        self._held: dict[str, ort.OrtValue] = {}  # a binding does not keep what it is bound to
        self._names = {value.name for value in session.get_inputs()}
        self.bind(inputs)
        for name, array in outputs.items():
            value = self._value(name, array)
            self._binding.bind_ortvalue_output(name, value)

    def bind(self, inputs: Mapping[str, Array]) -> None:
        """Binds inputs to other arrays."""
        for name, array in inputs.items():
            if name not in self._names:
                raise SettingsError(f"the graph has no input {name}; it was written for other slots, or without LoRA")
            self._binding.bind_ortvalue_input(name, self._value(name, array))

    def bind_both(self, name: str, output: str, array: Float32) -> None:
        """Binds one array as an input and as an output, which the graph then changes in place."""
        value = self._value(name, array)
        self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output(output, value)

    def __call__(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            if is_shortage(error):
                raise shortage("running the model", ADVICE, error=error) from error
            reason = " ".join(str(error).split())
            raise BundleError(f"a graph fails on its inputs ({reason:.300}); export the bundle again") from error

    def _value(self, name: str, array: Array) -> ort.OrtValue:
        value = ort.OrtValue.ortvalue_from_numpy(array)
        self._held[name] = value
        return value
