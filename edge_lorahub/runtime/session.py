"""ONNX Runtime: the sessions of a bundle."""

from __future__ import annotations

import os
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..bundle.graph_check import check_graph_files
from ..bundle.graphs import Graph
from ..bundle.linked_weights import FOLDER_OPTION, graph_with_weights, linked_weights
from ..bundle.manifest import TOKENIZER, WEIGHTS, Manifest
from ..bundle.weights_sample import check_weights_sample
from ..errors import BundleError, EdgeLorahubWarning, SettingsError
from ..files.outputs import check_digests
from ..machine.onnx_runtime import int8_is_wrong, ort, version_of
from ..machine.processors import usable_processors
from ..machine.shortage import is_shortage, shortage
from .architecture import Architecture, Sessions
from .opened import OpenBundle
from .tokens import Tokens

# ONNX Runtime starts as many as it is told to, and a mistyped number takes the machine's memory.
MOST_THREADS = 256
# What a session takes beside its weights, about.
_SESSION = 100_000_000
_TO_LOAD = "close other programs, use a smaller model, or a bundle in int8"


def default_threads() -> int:
    """The processors that this process may use, in a container those of its quota."""
    return min(usable_processors(), MOST_THREADS)


@dataclass(frozen=True)
class _Loaded:
    files: tuple[str, ...]
    threads: int
    sessions: Sessions
    process: int = field(default_factory=os.getpid)


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
        self.threads = default_threads() if threads is None else threads
        if not 1 <= self.threads <= MOST_THREADS:
            raise SettingsError(f"threads must be from 1 to {MOST_THREADS}, got {threads}")
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

    def sessions(self, graph: Graph, at_once: int = 1) -> Sessions:
        """The sessions of a graph's files, loaded at the first call; for so many threads of ours to run at once.

        Each runs on its share of the model's threads. Raises BundleError.
        """
        threads = max(1, self.threads // at_once)
        with self._loading:
            # the graphs of two roles may be the same files
            for loaded in self._loaded.values():
                if (loaded.files, loaded.threads) == (graph.files, threads):
                    if self._loaded.get(graph.role) is not loaded:
                        self._drop(graph.role)
                        self._loaded[graph.role] = loaded
                    return loaded.sessions
            self._drop(graph.role)  # before the next ones take memory
            options = self._session_options(threads)
            # packing a session's weights takes one thread
            with ThreadPoolExecutor(min(self.threads, 2)) as pool:
                found = tuple(pool.map(lambda name: self._session(name, options), graph.files))
            self.architecture.check(self.folder, self.manifest, graph, found)
            self._loaded[graph.role] = _Loaded(graph.files, threads, found)
        return found

    def _drop(self, role: str) -> None:
        """Ends a role's sessions; but in a forked process, where their threads are gone, the end would never come."""
        loaded = self._loaded.pop(role, None)
        if loaded is not None and loaded.process != os.getpid():
            self._inherited.append(loaded)

    def has_loaded(self, graph: Graph) -> bool:
        """Whether the sessions of a graph's files are there."""
        return any(loaded.files == graph.files for loaded in self._loaded.values())

    def _session_options(self, threads: int) -> ort.SessionOptions:
        options = ort.SessionOptions() if self._options is None else self._options
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # an error is raised, and need not be printed as well
        # patterns are kept for every shape of a batch: a fifth more memory where there are three, and no faster
        options.enable_mem_pattern = False
        # threads that go on spinning after a run of one session take the processors from the next one's
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if self._weights:
            options.add_session_config_entry(FOLDER_OPTION, str(self._weights.parent))
        return options

    def _session(self, name: str, options: ort.SessionOptions) -> ort.InferenceSession:
        path = self.folder / name
        try:
            graph = graph_with_weights(path, self._weights) if self._weights else str(path)
            return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
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
