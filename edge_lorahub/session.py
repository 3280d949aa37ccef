"""ONNX Runtime: the sessions of a bundle, and runs whose inputs and outputs are bound without copies."""

from __future__ import annotations

import os

# onnxruntime reports usage to its maker by default where it was built to; a runtime for people's own machines
# does not. Read when the library is loaded, so it comes before the import; a user's own setting goes first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from .contract import (
    ATTENTION_MASK,
    GRAPHS,
    INPUT_IDS,
    LOGITS,
    TOKENIZER,
    Manifest,
    ModelConfig,
    cross_name,
    lora_a_name,
    lora_b_name,
    lora_scale_name,
    past_name,
    present_name,
    read_manifest,
)
from .errors import BundleError, SettingsError
from .stack import LoraInputs
from .tokens import Ids, Tokens

Float32 = NDArray[np.float32]
_DEVICE = "cpu"
_PARTS = ("key", "value")
# What to do when a model has the graphs of one form, and the inputs are of another.
_WRONG_FORM = {
    "float32": "LoRA in {0} needs a model that was loaded with lora={0!r}",
    "none": "the model was loaded without LoRA; load it without lora='none' to use an adapter",
    "int8": "the model was loaded for LoRA in int8, which is for adapting; load it without lora='int8'",
}
# ONNX Runtime starts as many as it is told to, and a mistyped number takes the machine's memory.
MOST_THREADS = 256


def default_threads() -> int:
    """The processors that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, MOST_THREADS)


class Model:
    """A loaded bundle: two sessions and a tokenizer. Never changes, so several threads may use it.

    The sessions are for `workers` threads of ours to run at once, each on its share of `threads`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        threads: int | None = None,
        workers: int = 1,
        lora: str = "float32",
        options: ort.SessionOptions | None = None,
    ) -> None:
        """options: those of ONNX Runtime to start from; threads and logging are set here."""
        self.folder = Path(folder)
        self.threads = default_threads() if threads is None else threads
        if not 1 <= self.threads <= MOST_THREADS:
            raise SettingsError(f"threads must be from 1 to {MOST_THREADS}, got {threads}")
        if workers < 1:
            raise SettingsError(f"workers must be at least 1, got {workers}")
        self.workers = min(workers, self.threads)
        self.manifest: Manifest = read_manifest(self.folder)
        self.lora = lora
        if lora not in self.manifest.lora_forms:
            forms = " or ".join(map(repr, self.manifest.lora_forms))
            raise SettingsError(f"{self.folder}: lora must be {forms} for this bundle, got {lora!r}")
        self.tokens = Tokens(self.folder / TOKENIZER, self.manifest.model)
        options = ort.SessionOptions() if options is None else options
        options.intra_op_num_threads = self.threads // self.workers
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # patterns are kept for every shape of a batch: a fifth more memory where there are three, and no faster
        options.enable_mem_pattern = False
        # threads that go on spinning after a run of one session take the processors from the next one's
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._options = options
        # packing a session's weights takes one thread
        with ThreadPoolExecutor(min(self.threads, 2)) as pool:
            self.encoder, self.decoder = pool.map(self._session, GRAPHS[lora])
        self._check_graphs()

    def _session(self, name: str) -> ort.InferenceSession:
        path = self.folder / name
        try:
            return ort.InferenceSession(str(path), self._options, providers=["CPUExecutionProvider"])
        except MemoryError:
            raise
        except Exception as error:
            reason = str(error).replace("\n", " ")
            raise BundleError(f"{path}: cannot be loaded ({reason}); export the bundle again") from error

    def _check_graphs(self) -> None:
        """Refuses graphs that are not those of the manifest, before a run fails on a name."""
        types = {i.name: i.type for session in (self.encoder, self.decoder) for i in session.get_inputs()}
        found = set(types)
        layers = self.manifest.model.decoder_layers
        wanted = {past_name(layer, part) for layer in range(layers) for part in _PARTS}
        wanted |= {cross_name(layer, part) for layer in range(layers) for part in _PARTS}
        wanted |= {INPUT_IDS, ATTENTION_MASK}
        slots = () if self.lora == "none" else self.manifest.slots
        for slot in slots:
            wanted |= {lora_a_name(slot.name), lora_scale_name(slot.name), lora_b_name(slot.name)}
        if strange := found ^ wanted:
            raise BundleError(
                f"{self.folder}: its graphs and its manifest differ ({min(strange)}); export the bundle again"
            )
        matrices = "tensor(int8)" if self.lora == "int8" else "tensor(float)"
        for slot in slots:
            if types[lora_a_name(slot.name)] != matrices:
                raise BundleError(f"{self.folder}: its graphs do not take LoRA in {self.lora}; export the bundle again")


def load(bundle: str | Path, *, threads: int | None = None, workers: int = 1, lora: str = "float32") -> Model:
    """Loads a bundle for use on `threads` threads (None: all processors).

    With several workers `adapt` evaluates as many candidates at once, which is faster than one after the other
    on all threads; other uses are slower then, since each gets threads // workers. Never more workers than
    threads. lora "int8", for a bundle in int8, is for `adapt` in exact composition alone: the modules' matrices
    are stacked in eight bits, which takes less time and memory; the adapter that it gives is made of the modules
    themselves. lora "none" is for `generate` and `evaluate` without an adapter, which are a little faster then.
    Raises MissingPathError, BundleError or SettingsError.
    """
    return Model(bundle, threads=threads, workers=workers, lora=lora)


def _value(array: NDArray[Any]) -> ort.OrtValue:
    """An OrtValue on the array's own memory: what NumPy writes there, the next run reads."""
    return ort.OrtValue.ortvalue_from_numpy(array)


class Space:
    """Memory for the cross-attention's keys and values and the logits of batches that are run one after the other."""

    def __init__(self, config: ModelConfig, *, sources: int, labels: int) -> None:
        """sources and labels: the most tokens of a batch, with their padding."""
        self.cross: Float32 = np.empty(cross_size(config, sources), np.float32)
        self.logits: Float32 = np.empty(labels * config.vocab_size, np.float32)


def cross_size(config: ModelConfig, tokens: int) -> int:
    """How many numbers the cross-attention's keys and values of a batch's source tokens are, in all layers."""
    return len(_PARTS) * config.decoder_layers * tokens * config.heads * config.head_size


class Encoded:
    """A batch of source texts after the encoder: the cross-attention's keys and values, and the mask.

    Bound once; `run` encodes again with whatever the LoRA inputs hold by then.
    """

    def __init__(self, runner: Runner, ids: Ids, mask: Ids, space: Float32 | None = None) -> None:
        """space: where the keys and values go, `cross_size` numbers or more; None: memory of their own."""
        config = runner.model.manifest.model
        batch, length = ids.shape
        self.batch = batch
        self.mask = _value(mask)
        size = cross_size(config, ids.size)
        space = np.empty(size, np.float32) if space is None else space[:size]
        arrays = space.reshape(config.decoder_layers, len(_PARTS), batch, config.heads, length, config.head_size)
        self.cross = {
            cross_name(layer, part): _value(array)
            for layer, pair in enumerate(arrays)
            for part, array in zip(_PARTS, pair, strict=True)
        }
        self._session = runner.model.encoder
        self._ids = _value(ids)  # held: a binding does not keep what it is bound to
        self._binding = runner.bind(self._session, {INPUT_IDS: self._ids, ATTENTION_MASK: self.mask})
        for name, value in self.cross.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)


class Scoring:
    """Teacher forcing on a fixed batch: after `run`, `logits` float32 (B, S, V) are those of the label positions."""

    def __init__(self, runner: Runner, ids: Ids, mask: Ids, labels: Ids, space: Space | None = None) -> None:
        """space: for the largest batch of several; None: memory of its own."""
        config = runner.model.manifest.model
        batch, length = labels.shape
        space = space or Space(config, sources=ids.size, labels=labels.size)
        self._encoded = Encoded(runner, ids, mask, space.cross)
        # the decoder reads the labels one step late
        shifted = np.full_like(labels, config.decoder_start_token_id)
        shifted[:, 1:] = labels[:, :-1]
        logits = space.logits[: labels.size * config.vocab_size]
        self.logits: Float32 = logits.reshape(batch, length, config.vocab_size)
        self._held = [_value(shifted), _value(self.logits)]
        empty = _value(np.empty((batch, config.heads, 0, config.head_size), np.float32))
        past = {past_name(layer, part): empty for layer in range(config.decoder_layers) for part in _PARTS}
        self._session = runner.model.decoder
        self._binding = runner.bind(
            self._session,
            {INPUT_IDS: self._held[0], ATTENTION_MASK: self._encoded.mask, **self._encoded.cross, **past},
        )
        self._binding.bind_ortvalue_output(LOGITS, self._held[1])
        self._past = past

    def run(self) -> None:
        self.encode()
        self.decode()

    def encode(self) -> None:
        self._encoded.run()

    def decode(self) -> None:
        self._session.run_with_iobinding(self._binding)


class Decoding:
    """Step-by-step decoding of an encoded batch, with the keys and values of the past kept by ONNX Runtime."""

    def __init__(self, runner: Runner, encoded: Encoded) -> None:
        config = runner.model.manifest.model
        self._config = config
        self._session = runner.model.decoder
        self._encoded = encoded
        self._binding = runner.bind(self._session, {ATTENTION_MASK: encoded.mask, **encoded.cross})
        empty = _value(np.empty((encoded.batch, config.heads, 0, config.head_size), np.float32))
        self._past = [empty] * (config.decoder_layers * len(_PARTS))
        self._inputs = self._names(past_name)
        self._outputs = [LOGITS, *self._names(present_name)]

    def step(self, ids: Ids) -> Float32:
        """One token a sequence, ids (B, 1) -> logits float32 (B, V)."""
        held = _value(ids)
        self._binding.bind_ortvalue_input(INPUT_IDS, held)
        for name, value in zip(self._inputs, self._past, strict=True):
            self._binding.bind_ortvalue_input(name, value)
        self._binding.clear_binding_outputs()
        for name in self._outputs:
            self._binding.bind_output(name, _DEVICE)
        self._session.run_with_iobinding(self._binding)
        logits, *self._past = self._binding.get_outputs()
        result: Float32 = logits.numpy()[:, -1]
        return result

    def _names(self, name: Callable[[int, str], str]) -> list[str]:
        return [name(layer, part) for layer in range(self._config.decoder_layers) for part in _PARTS]


class Runner:
    """A model with one set of LoRA inputs. For one thread; what it makes is bound to those inputs' memory."""

    def __init__(self, model: Model, inputs: LoraInputs) -> None:
        if inputs.form != model.lora:
            raise SettingsError(_WRONG_FORM[model.lora].format(inputs.form))
        self.model = model
        self.inputs = inputs
        self._lora = {name: _value(array) for name, array in inputs.arrays.items()}
        self._wanted = {
            session: [i.name for i in session.get_inputs() if i.name in self._lora]
            for session in (model.encoder, model.decoder)
        }

    def bind(self, session: ort.InferenceSession, values: dict[str, ort.OrtValue]) -> ort.IOBinding:
        binding = session.io_binding()
        for name in self._wanted[session]:
            binding.bind_ortvalue_input(name, self._lora[name])
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        return binding
