"""Runs of a model's sessions, whose inputs and outputs are bound to NumPy's memory without copies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.graphs import Variant, lora_a_name
from ..composition.inputs import LoraInputs
from ..composition.stack import plain_inputs
from ..errors import BundleError, SettingsError
from ..machine.denormals import denormals_as_zero
from ..machine.onnx_runtime import ort
from ..machine.shortage import ADVICE, is_shortage, shortage
from .session import Model

Float32 = NDArray[np.float32]


def value_of(array: NDArray[Any]) -> ort.OrtValue:
    """An OrtValue on the array's own memory: what NumPy writes there, the next run reads."""
    return ort.OrtValue.ortvalue_from_numpy(array)


class LoraValues:
    """LoRA inputs as ONNX Runtime's values on the same memory; for any number of threads that only run."""

    def __init__(self, inputs: LoraInputs, other: LoraValues | None = None) -> None:
        """other: those of another candidate of the same stack, whose values of shared arrays are used again."""
        self.inputs = inputs
        self.values: dict[str, ort.OrtValue] = {}
        for name, array in inputs.arrays.items():
            shared = other is not None and other.inputs.arrays[name] is array
            self.values[name] = other.values[name] if other is not None and shared else value_of(array)


class Runner:
    """The graphs of one role, with one set of LoRA inputs at a time. For one thread.

    Which variant of the graphs is run follows from the inputs, so that no other can be.
    """

    def __init__(self, model: Model, role: str, inputs: LoraInputs, *, short: bool = False, at_once: int = 1) -> None:
        """role is one of `bundle.graphs.ROLES`; short: the variant for short outputs.

        at_once: how many runners there are to run at the same time, each on its share of the model's threads. Raises
        SettingsError if the bundle has no such graphs.
        """
        self.model = model
        self.variant = Variant(inputs.lora_type, short)
        slots = {lora_a_name(slot.name): slot for slot in model.manifest.slots}
        used = [slot for name, slot in slots.items() if name in inputs.arrays]
        self.sessions = model.sessions(model.manifest.graph(role, self.variant), at_once, used)
        read = {session: [value.name for value in session.get_inputs()] for session in self.sessions}
        named = set[str]().union(*read.values())
        if strange := sorted(inputs.arrays.keys() - named):
            # it would be left out without a word
            raise SettingsError(f"the graphs have no input {strange[0]}; they were written for other slots")
        # may be replaced by others of the same stack at any time; the next run takes them
        self.lora = LoraValues(inputs)
        self.wanted = {session: [name for name in names if name in inputs.arrays] for session, names in read.items()}
        # of slots that the graphs have for others
        others = [slots[name] for name in named & slots.keys() if name not in inputs.arrays]
        idle = LoraValues(plain_inputs(others, inputs.lora_type)).values
        self.idle = {session: {name: idle[name] for name in names if name in idle} for session, names in read.items()}


class Run:
    """A session with its inputs and outputs bound; called, it runs with whatever LoRA the runner has by then."""

    def __init__(
        self,
        runner: Runner,
        session: ort.InferenceSession,
        inputs: dict[str, ort.OrtValue],
        outputs: dict[str, ort.OrtValue],
    ) -> None:
        self._binding = session.io_binding()
        self._runner = runner
        self._session = session
        # a binding does not keep what it is bound to
        self._held = inputs | outputs
        self._lora: LoraValues | None = None
        for name, value in (inputs | runner.idle[session]).items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def bind_both(self, name: str, output: str, value: ort.OrtValue) -> None:
        """Binds one value as an input and as an output."""
        self._held[name] = value
        self._binding.bind_ortvalue_input(name, value)
        self._binding.bind_ortvalue_output(output, value)

    def __call__(self) -> None:
        lora = self._runner.lora
        if lora is not self._lora:
            self._lora = None  # until all are bound: an interrupt may come between
            for name in self._runner.wanted[self._session]:
                self._binding.bind_ortvalue_input(name, lora.values[name])
            self._lora = lora
        try:
            with denormals_as_zero():
                self._session.run_with_iobinding(self._binding)
        except Exception as error:
            folder = self._runner.model.folder
            if is_shortage(error):
                raise shortage(f"running {folder}", ADVICE, error=error) from error
            reason = " ".join(str(error).split())
            raise BundleError(
                f"{folder}: a graph fails on its inputs ({reason:.300}); export the bundle again"
            ) from error
