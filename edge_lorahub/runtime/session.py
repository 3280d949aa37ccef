"""ONNX Runtime: the sessions of a bundle."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..bundle.graph_check import check_graph_files, check_sessions
from ..bundle.linked_weights import FOLDER_OPTION, graph_with_weights, linked_weights
from ..bundle.manifest import TOKENIZER, WEIGHTS, Manifest, graph_files, read_manifest
from ..bundle.weights_sample import check_weights_sample
from ..errors import BundleError, EdgeLorahubWarning, SettingsError
from ..files.outputs import check_digests
from ..machine.onnx_runtime import int8_is_wrong, ort
from ..machine.processors import usable_processors
from ..machine.shortage import is_shortage, shortage
from .tokens import Tokens

# ONNX Runtime starts as many as it is told to, and a mistyped number takes the machine's memory.
MOST_THREADS = 256
# What a session takes beside its weights, about.
_SESSION = 100_000_000
_TO_LOAD = "close other programs, use a smaller model, or a bundle in int8"


def default_threads() -> int:
    """The processors that this process may use, in a container those of its quota."""
    return min(usable_processors(), MOST_THREADS)


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
        absorbed: bool = False,
        tokens: Tokens | None = None,
        options: ort.SessionOptions | None = None,
    ) -> None:
        """tokens: the bundle's tokenizer, where it is loaded already.

        options: those of ONNX Runtime to start from; threads and logging are set here.
        """
        self.folder = Path(folder)
        self.threads = default_threads() if threads is None else threads
        if not 1 <= self.threads <= MOST_THREADS:
            raise SettingsError(f"threads must be from 1 to {MOST_THREADS}, got {threads}")
        if workers < 1:
            raise SettingsError(f"workers must be at least 1, got {workers}")
        self.workers = min(workers, self.threads)
        self.manifest: Manifest = read_manifest(self.folder)
        if self.manifest.precision == "int8" and int8_is_wrong():
            warnings.warn(
                f"onnxruntime {ort.__version__} computes int8 wrongly on this processor (with AMX), so answers and "
                "losses mean nothing; use onnxruntime 1.25 or newer, or a bundle in fp32",
                EdgeLorahubWarning,
                stacklevel=3,
            )
        self.lora = lora
        self.absorbed = absorbed
        known = graph_files(self.manifest.precision, absorbed=absorbed)
        if lora not in known:
            forms, kind = " or ".join(map(repr, known)), ", absorbed" if absorbed else ""
            raise SettingsError(f"{self.folder}: lora must be {forms} for this bundle{kind}, got {lora!r}")
        graphs = known[lora]
        # of the weights only a sample: those of flan-t5-large in float32 would take two seconds
        check_digests(self.folder, {name: self.manifest.sha256[name] for name in (*graphs, TOKENIZER)})
        (self.folder / WEIGHTS).open("rb").close()  # says "permission denied", where ONNX Runtime gives a number
        check_weights_sample(self.folder, self.manifest)
        check_graph_files(self.folder, self.manifest, graphs)
        self.tokens = tokens or Tokens(self.folder / TOKENIZER, self.manifest.model)
        options = ort.SessionOptions() if options is None else options
        options.intra_op_num_threads = self.threads // self.workers
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # an error is raised, and need not be printed as well
        # patterns are kept for every shape of a batch: a fifth more memory where there are three, and no faster
        options.enable_mem_pattern = False
        # threads that go on spinning after a run of one session take the processors from the next one's
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._weights = linked_weights(self.folder)
        if self._weights:
            options.add_session_config_entry(FOLDER_OPTION, str(self._weights.parent))
        self._options = options
        # packing a session's weights takes one thread
        with ThreadPoolExecutor(min(self.threads, 2)) as pool:
            self.encoder, self.decoder = pool.map(self._session, graphs)
        check_sessions(self.folder, self.manifest, self.encoder, self.decoder, lora=lora, absorbed=absorbed)

    def _session(self, name: str) -> ort.InferenceSession:
        path = self.folder / name
        try:
            graph = graph_with_weights(path, self._weights) if self._weights else str(path)
            return ort.InferenceSession(graph, self._options, providers=["CPUExecutionProvider"])
        except Exception as error:
            if is_shortage(error):
                needs = (self.folder / WEIGHTS).stat().st_size + _SESSION
                raise shortage(f"loading {path}", _TO_LOAD, needs=needs) from error
            reason = str(error).replace("\n", " ")
            raise BundleError(f"{path}: cannot be loaded ({reason}); export the bundle again") from error


def load(
    bundle: str | Path,
    *,
    threads: int | None = None,
    workers: int = 1,
    lora: str = "float32",
    absorbed: bool = False,
) -> Model:
    """Loads a bundle for use on `threads` threads (None: all processors that it may use).

    For `adapt` there is `load_to_adapt`, which chooses what follows. With several workers `adapt` evaluates as many
    candidates at once, which is faster than one after the other on all threads; other uses are slower then, since
    each gets threads // workers. Never more workers than threads. lora "int8", for a bundle in int8, is for `adapt`
    in exact composition alone: the modules' matrices are stacked in eight bits, which takes less time and memory; the
    adapter that it gives is made of the modules themselves. absorbed is for `adapt` alone too, on short answers: the
    cross-attention then makes no keys and values of the inputs. lora "none" is for `generate` and `evaluate` without
    an adapter, which are a little faster then. Raises MissingPathError, BundleError or SettingsError.
    """
    return Model(bundle, threads=threads, workers=workers, lora=lora, absorbed=absorbed)
