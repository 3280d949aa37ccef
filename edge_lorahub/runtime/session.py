"""ONNX Runtime: the sessions of a bundle."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..bundle.graph_check import check_graph_files
from ..bundle.graphs import Graph
from ..bundle.linked_weights import FOLDER_OPTION, graph_with_weights, linked_weights
from ..bundle.manifest import TOKENIZER, WEIGHTS, Manifest, Slot
from ..bundle.unused_slots import without_slots
from ..bundle.weights_sample import check_weights_sample
from ..errors import BundleError, EdgeLorahubWarning
from ..files.outputs import check_digests
from ..machine.denormals import DENORMALS_OPTION
from ..machine.onnx_runtime import int8_is_wrong, ort, version_of
from ..machine.processors import usable_processors
from ..machine.shortage import is_shortage, shortage
from ..messages import check_whole
from .architecture import Architecture, Sessions
from .opened import OpenBundle
from .tokens import Tokens

# ONNX Runtime starts as many as it is told to, and a mistyped number takes the machine's memory.
MOST_THREADS = 256
# What a session takes beside its weights, about.
_SESSION = 100_000_000
_GENERATE = "generate"
_TO_LOAD = "close other programs, use a smaller model, or a bundle in int8"


def default_threads() -> int:
    """The processors that this process may use, in a container those of its quota."""
    return min(usable_processors(), MOST_THREADS)


@dataclass(frozen=True)
class _Loaded:
    files: tuple[str, ...]
    threads: int
    slots: frozenset[Slot]
    sessions: Sessions
    process: int = field(default_factory=os.getpid)

    def serves(self, graph: Graph, threads: int, slots: frozenset[Slot]) -> bool:
        if (self.files, self.threads) != (graph.files, threads):
            return False
        return self.slots == slots or (graph.role == _GENERATE and self.slots > slots)


class Model:
    """A bundle that is checked and ready to run. Several threads may use it.

    Its sessions are loaded when they are first needed, and for each role the last ones stay. So a model that has
    learned and then generates holds the weights twice.
    """

    def __init__(
        self, bundle: str | Path | OpenBundle, *, threads: int | None = None, options: ort.SessionOptions | None = None
    ) -> None:
        """options: those of ONNX Runtime to start from; threads and logging are set here."""
        self.bundle = bundle if isinstance(bundle, OpenBundle) else OpenBundle(bundle)
        self.folder = self.bundle.folder
        if threads is not None:
            check_whole("threads", threads, least=1, most=MOST_THREADS)
        self.threads = default_threads() if threads is None else int(threads)
        manifest = self.manifest
        if version_of(ort.__version__) < version_of(manifest.least_onnxruntime):
            raise BundleError(
                f"{self.folder}: {manifest.model.family} is computed rightly by onnxruntime "
                f"{manifest.least_onnxruntime} and newer, and this is {ort.__version__}; update onnxruntime"
            )
        if manifest.precision == "int8" and int8_is_wrong():
            warnings.warn(
                f"onnxruntime {ort.__version__} computes int8 wrongly on this processor (with AMX), so answers and "
                "losses mean nothing; use onnxruntime 1.25 or newer, or a bundle in fp32",
                EdgeLorahubWarning,
                stacklevel=3,
            )
        graphs = manifest.graph_files
        # of the weights only a sample: those of flan-t5-large in float32 would take two seconds
        check_digests(self.folder, {name: manifest.sha256[name] for name in (*graphs, TOKENIZER)})
        (self.folder / WEIGHTS).open("rb").close()  # says "permission denied", where ONNX Runtime gives a number
        check_weights_sample(self.folder, manifest)
        check_graph_files(self.folder, manifest, graphs)
        self._options = options
        self._weights = linked_weights(self.folder)
        self._loaded: dict[str, _Loaded] = {}  # by role
        self._inherited: list[_Loaded] = []  # those that a forked process does not use any more
        self._loading = threading.Lock()

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def tokens(self) -> Tokens:
        return self.bundle.tokens

    @property
    def architecture(self) -> Architecture:
        return self.bundle.architecture

    def sessions(self, graph: Graph, at_once: int = 1, slots: Iterable[Slot] | None = None) -> Sessions:
        """The sessions of a graph's files, loaded at the first call; for so many threads of ours to run at once.

        Each runs on its share of the model's threads. slots: those of the bundle that have LoRA inputs, None: all;
        graphs that generate keep what they have of others, so that adapters which take turns are not loaded for at
        every turn. Raises BundleError.
        """
        threads = max(1, self.threads // at_once)
        wanted = frozenset(self.manifest.slots if slots is None else slots)
        if graph.lora_type == "none":
            wanted = frozenset()
        with self._loading:
            # the graphs of two roles may be the same files
            for loaded in self._loaded.values():
                if loaded.serves(graph, threads, wanted):
                    if self._loaded.get(graph.role) is not loaded:
                        self._drop(graph.role)
                        self._loaded[graph.role] = loaded
                    return loaded.sessions
            last = self._loaded.get(graph.role)
            if graph.role == _GENERATE and last is not None and last.files == graph.files:
                wanted |= last.slots
            self._drop(graph.role)  # before the next ones take memory
            found = self._load(graph, threads, wanted)
            self._loaded[graph.role] = _Loaded(graph.files, threads, wanted, found)
        return found

    def _load(self, graph: Graph, threads: int, wanted: frozenset[Slot]) -> Sessions:
        """wanted: the slots that have LoRA inputs."""
        manifest, sources = self.manifest, self._sources(graph, wanted)
        options = self._session_options(threads)
        # packing a session's weights takes one thread
        with ThreadPoolExecutor(min(self.threads, 2)) as pool:
            found = tuple(pool.map(lambda *file: self._session(options, *file), graph.files, sources))
        slots = tuple(slot for slot in manifest.slots if slot in wanted)
        self.architecture.check(self.folder, replace(manifest, slots=slots), graph, found)
        return found

    def _sources(self, graph: Graph, wanted: frozenset[Slot]) -> Sequence[bytes | None]:
        """Graphs that are other than their files; None: the file as it is."""
        unused = [slot.name for slot in self.manifest.slots if slot not in wanted]
        if not unused or graph.lora_type == "none":
            return [None] * len(graph.files)
        return without_slots(self.folder, graph.files, unused)

    def _drop(self, role: str) -> None:
        """Ends a role's sessions; but in a forked process, where their threads are gone, the end would never come."""
        loaded = self._loaded.pop(role, None)
        if loaded is not None and loaded.process != os.getpid():
            self._inherited.append(loaded)

    def has_loaded(self, graph: Graph) -> bool:
        """Whether the sessions of a graph's files are there."""
        # a copy: another thread may be loading
        return any(loaded.files == graph.files for loaded in list(self._loaded.values()))

    def _session_options(self, threads: int) -> ort.SessionOptions:
        options = ort.SessionOptions() if self._options is None else self._options
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # an error is raised, and need not be printed as well
        # patterns are kept for every shape of a batch: a fifth more memory where there are three, and no faster
        options.enable_mem_pattern = False
        # threads that go on spinning after a run of one session take the processors from the next one's
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.add_session_config_entry(DENORMALS_OPTION, "1")
        # of graphs that come as bytes
        options.add_session_config_entry(FOLDER_OPTION, str((self._weights or self.folder / WEIGHTS).parent))
        return options

    def _session(self, options: ort.SessionOptions, name: str, source: bytes | None) -> ort.InferenceSession:
        """source: the graph, None: what is in the file."""
        path = self.folder / name
        try:
            if self._weights:
                source = graph_with_weights(path.read_bytes() if source is None else source, self._weights)
            return ort.InferenceSession(source or str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            if is_shortage(error):
                needs = (self.folder / WEIGHTS).stat().st_size + _SESSION
                raise shortage(f"loading {path}", _TO_LOAD, needs=needs) from error
            reason = str(error).replace("\n", " ")
            raise BundleError(f"{path}: cannot be loaded ({reason}); export the bundle again") from error


def load(bundle: str | Path, *, threads: int | None = None) -> Model:
    """Loads a bundle for use on `threads` threads (None: all processors that it may use).

    For those who use it several times: `adapt`, `generate` and `evaluate` take what this gives, and choose the graphs
    that they need themselves. Raises MissingPathError, BundleError or SettingsError.
    """
    return Model(bundle, threads=threads)
