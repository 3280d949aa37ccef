"""Runs of a model's sessions, whose inputs and outputs are bound to NumPy's memory without copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import ATTENTION_MASK, INPUT_IDS, LOGITS, PARTS, PAST_TOKENS, past_name
from ..composition.inputs import LoraInputs
from ..errors import BundleError, SettingsError
from ..machine.onnx_runtime import ort
from ..machine.shortage import ADVICE, is_shortage, shortage
from .session import Model
from .tokens import Ids

Float32 = NDArray[np.float32]
# What to do when a model has the graphs of one form, and the inputs are of another.
_WRONG_FORM = {
    "float32": "LoRA in {0} needs a model that was loaded with lora={0!r}",
    "none": "the model was loaded without LoRA; load it without lora='none' to use an adapter",
    "int8": "the model was loaded for LoRA in int8, which is for adapting; load it without lora='int8'",
}


def value_of(array: NDArray[Any]) -> ort.OrtValue:
    """An OrtValue on the array's own memory: what NumPy writes there, the next run reads."""
    return ort.OrtValue.ortvalue_from_numpy(array)


def check_length(tokens: int, longest: int | None, what: str, option: str) -> None:
    """Refuses a text for which the model has no relative positions: beyond them its arithmetic breaks down."""
    if longest is not None and tokens > longest:
        raise SettingsError(
            f"{what} of {tokens} tokens, but the model's relative positions end at {longest} "
            f"(relative_attention_max_distance in its config.json); shorten it, or use {option} {longest}"
        )


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
        check_length(length, runner.model.manifest.model.longest_input, "a text", "--max-input-tokens")
        self.mask = value_of(mask)
        self.outputs: dict[str, ort.OrtValue] = {}
        start = 0
        for name, shape in _output_shapes(runner.model.encoder, self.batch, length).items():
            end = start + _numbers(shape)
            array = np.empty(end - start, np.float32) if space is None else space[start:end]
            self.outputs[name] = value_of(array.reshape(shape))
            start = end
        self._run = Run(
            runner, runner.model.encoder, {INPUT_IDS: value_of(ids), ATTENTION_MASK: self.mask}, self.outputs
        )

    def run(self) -> None:
        self._run()


class Scoring:
    """Teacher forcing on a fixed batch: after `run`, `logits` float32 (B, S, V) are those of the label positions."""

    def __init__(self, runner: Runner, ids: Ids, mask: Ids, labels: Ids, space: Space | None = None) -> None:
        """space: for the largest batch of several; None: memory of its own."""
        config = runner.model.manifest.model
        batch, length = labels.shape
        check_length(length, config.longest_output, "an answer", "--max-output-tokens")
        space = space or Space(runner.model, sources=ids.size, labels=labels.size)
        self._encoded = Encoded(runner, ids, mask, space.encoded)
        # the decoder reads the labels one step late
        shifted = np.full_like(labels, config.decoder_start_token_id)
        shifted[:, 1:] = labels[:, :-1]
        logits = space.logits[: labels.size * config.vocab_size]
        self.logits: Float32 = logits.reshape(batch, length, config.vocab_size)
        past = {}
        if not runner.model.absorbed:
            empty = value_of(np.empty((batch, config.heads, 0, config.head_size), np.float32))
            past = {past_name(layer, part): empty for layer in range(config.decoder_layers) for part in PARTS}
            past[PAST_TOKENS] = value_of(np.zeros((), np.int64))
        self.decode = Run(
            runner,
            runner.model.decoder,
            {INPUT_IDS: value_of(shifted), ATTENTION_MASK: self._encoded.mask, **self._encoded.outputs, **past},
            {LOGITS: value_of(self.logits)},
        )

    def run(self) -> None:
        self.encode()
        self.decode()

    def encode(self) -> None:
        self._encoded.run()


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
        self._binding = session.io_binding()
        self._runner = runner
        self._session = session
        # a binding does not keep what it is bound to
        self._held = inputs | outputs
        self._lora: LoraValues | None = None
        for name, value in inputs.items():
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
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            folder = self._runner.model.folder
            if is_shortage(error):
                raise shortage(f"running {folder}", ADVICE, error=error) from error
            reason = " ".join(str(error).split())
            raise BundleError(
                f"{folder}: a graph fails on its inputs ({reason:.300}); export the bundle again"
            ) from error
