"""Runs of a model's sessions, whose inputs and outputs are bound to NumPy's memory without copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .contract import ATTENTION_MASK, INPUT_IDS, LOGITS, PARTS, past_name, present_name
from .errors import SettingsError
from .lora_inputs import LoraInputs
from .onnx_runtime import ort
from .session import Model
from .tokens import Ids

Float32 = NDArray[np.float32]
_DEVICE = "cpu"
# What to do when a model has the graphs of one form, and the inputs are of another.
_WRONG_FORM = {
    "float32": "LoRA in {0} needs a model that was loaded with lora={0!r}",
    "none": "the model was loaded without LoRA; load it without lora='none' to use an adapter",
    "int8": "the model was loaded for LoRA in int8, which is for adapting; load it without lora='int8'",
}


def _value(array: NDArray[Any]) -> ort.OrtValue:
    """An OrtValue on the array's own memory: what NumPy writes there, the next run reads."""
    return ort.OrtValue.ortvalue_from_numpy(array)


class Space:
    """Memory for what the encoder gives and the logits of batches that are run one after the other."""

    def __init__(self, model: Model, *, sources: int, labels: int) -> None:
        """sources and labels: the most tokens of a batch, with their padding."""
        numbers = sum(_numbers(shape) for shape in _output_shapes(model.encoder, 1, 1).values())
        self.encoded: Float32 = np.empty(sources * numbers, np.float32)
        self.logits: Float32 = np.empty(labels * model.manifest.model.vocab_size, np.float32)


def _output_shapes(session: ort.InferenceSession, batch: int, length: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the encoder's outputs, for B texts of T tokens."""
    sizes = {"B": batch, "T": length}
    return {o.name: tuple(sizes.get(size, size) for size in o.shape) for o in session.get_outputs()}


def _numbers(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


class Encoded:
    """A batch of source texts after the encoder: what the decoder reads of it, by name, and the mask.

    Bound once; `run` encodes again with whatever the LoRA inputs hold by then.
    """

    def __init__(self, runner: Runner, ids: Ids, mask: Ids, space: Float32 | None = None) -> None:
        """space: where the encoder's outputs go, as large as `Space` makes it; None: memory of their own."""
        self.batch, length = ids.shape
        self.mask = _value(mask)
        self.outputs: dict[str, ort.OrtValue] = {}
        start = 0
        for name, shape in _output_shapes(runner.model.encoder, self.batch, length).items():
            end = start + _numbers(shape)
            array = np.empty(end - start, np.float32) if space is None else space[start:end]
            self.outputs[name] = _value(array.reshape(shape))
            start = end
        self._run = Run(runner, runner.model.encoder, {INPUT_IDS: _value(ids), ATTENTION_MASK: self.mask}, self.outputs)

    def run(self) -> None:
        self._run()


class Scoring:
    """Teacher forcing on a fixed batch: after `run`, `logits` float32 (B, S, V) are those of the label positions."""

    def __init__(self, runner: Runner, ids: Ids, mask: Ids, labels: Ids, space: Space | None = None) -> None:
        """space: for the largest batch of several; None: memory of its own."""
        config = runner.model.manifest.model
        batch, length = labels.shape
        space = space or Space(runner.model, sources=ids.size, labels=labels.size)
        self._encoded = Encoded(runner, ids, mask, space.encoded)
        # the decoder reads the labels one step late
        shifted = np.full_like(labels, config.decoder_start_token_id)
        shifted[:, 1:] = labels[:, :-1]
        logits = space.logits[: labels.size * config.vocab_size]
        self.logits: Float32 = logits.reshape(batch, length, config.vocab_size)
        empty = _value(np.empty((batch, config.heads, 0, config.head_size), np.float32))
        layers = range(0 if runner.model.absorbed else config.decoder_layers)
        past = {past_name(layer, part): empty for layer in layers for part in PARTS}
        self.decode = Run(
            runner,
            runner.model.decoder,
            {INPUT_IDS: _value(shifted), ATTENTION_MASK: self._encoded.mask, **self._encoded.outputs, **past},
            {LOGITS: _value(self.logits)},
        )

    def run(self) -> None:
        self.encode()
        self.decode()

    def encode(self) -> None:
        self._encoded.run()


class Decoding:
    """Step-by-step decoding of an encoded batch, with the keys and values of the past kept by ONNX Runtime."""

    def __init__(self, runner: Runner, encoded: Encoded) -> None:
        if runner.model.absorbed:
            raise SettingsError(
                "the model was loaded to adapt to short answers; load it with load, and without absorbed, to generate"
            )
        config = runner.model.manifest.model
        self._config = config
        self._run = Run(runner, runner.model.decoder, {ATTENTION_MASK: encoded.mask, **encoded.outputs}, {})
        empty = _value(np.empty((encoded.batch, config.heads, 0, config.head_size), np.float32))
        self._past = [empty] * (config.decoder_layers * len(PARTS))
        self._inputs = self._names(past_name)
        self._outputs = [LOGITS, *self._names(present_name)]

    def step(self, ids: Ids) -> Float32:
        """One token a sequence, ids (B, 1) -> logits float32 (B, V)."""
        binding, held = self._run.binding, _value(ids)
        binding.bind_ortvalue_input(INPUT_IDS, held)
        for name, value in zip(self._inputs, self._past, strict=True):
            binding.bind_ortvalue_input(name, value)
        binding.clear_binding_outputs()
        for name in self._outputs:
            binding.bind_output(name, _DEVICE)
        self._run()
        logits, *self._past = binding.get_outputs()
        result: Float32 = logits.numpy()[:, -1]
        return result

    def _names(self, name: Callable[[int, str], str]) -> list[str]:
        return [name(layer, part) for layer in range(self._config.decoder_layers) for part in PARTS]


class LoraValues:
    """LoRA inputs as ONNX Runtime's values on the same memory; for any number of threads that only run."""

    def __init__(self, inputs: LoraInputs) -> None:
        self.inputs = inputs
        self.values = {name: _value(array) for name, array in inputs.arrays.items()}


class Runner:
    """A model with one set of LoRA inputs at a time. For one thread."""

    def __init__(self, model: Model, inputs: LoraInputs) -> None:
        if inputs.form != model.lora:
            raise SettingsError(_WRONG_FORM[model.lora].format(inputs.form))
        self.model = model
        # may be replaced by others of the same stack at any time; the next run takes them
        self.lora = LoraValues(inputs)
        self.wanted = {
            session: [i.name for i in session.get_inputs() if i.name in inputs.arrays]
            for session in (model.encoder, model.decoder)
        }


class Run:
    """A session with its inputs and outputs bound; called, it runs with whatever LoRA the runner has by then."""

    def __init__(
        self,
        runner: Runner,
        session: ort.InferenceSession,
        inputs: dict[str, ort.OrtValue],
        outputs: dict[str, ort.OrtValue],
    ) -> None:
        self.binding = session.io_binding()
        self._runner = runner
        self._session = session
        # a binding does not keep what it is bound to
        self._held = inputs, outputs
        self._lora: LoraValues | None = None
        for name, value in inputs.items():
            self.binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            self.binding.bind_ortvalue_output(name, value)

    def __call__(self) -> None:
        lora = self._runner.lora
        if lora is not self._lora:
            for name in self._runner.wanted[self._session]:
                self.binding.bind_ortvalue_input(name, lora.values[name])
            self._lora = lora
        self._session.run_with_iobinding(self.binding)
