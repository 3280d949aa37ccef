"""The seam between families of models: what the runtime asks of an architecture, and nothing above it knows.

An architecture says how texts become tokens and examples batches, how a batch is scored for whatever LoRA is set, how
an answer is decoded token by token, and how much memory that takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..bundle.graphs import Graph
from ..bundle.manifest import Manifest
from ..bundle.prompt import Prompt
from ..examples.example import Example
from ..machine.onnx_runtime import ort
from .tokens import Ids, Tokens

if TYPE_CHECKING:
    from .binding import Runner
    from .opened import EncodedTask, OpenBundle

Float32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
Sessions = tuple[ort.InferenceSession, ...]
# The (source, label) tokens of the examples of a batch.
Lengths = Sequence[tuple[int, int]]


class Batch(Protocol):
    """Examples that are scored in one run: their places among all, and the label tokens of each."""

    @property
    def members(self) -> list[int]: ...

    @property
    def labels(self) -> list[Ids]: ...


class Scoring(Protocol):
    """A batch whose inputs and outputs are bound."""

    def run(self) -> Sequence[Float32]:
        """The logits at each member's labels, (S, V), with the LoRA that the runner has; the next run overwrites."""
        ...


class Decoding(Protocol):
    """Answers to B sources, one token at a time."""

    def start(self) -> Float32:
        """The logits of the first token, (B, V); the next step overwrites."""
        ...

    def step(self, ids: Ids, running: Bools | None = None) -> Float32:
        """ids (B,), the tokens that were chosen -> the logits of the next ones, (B, V); the next step overwrites.

        running (B,): which answers go on, None: all. Of the others the ids and the logits mean nothing.
        """
        ...


class Architecture(Protocol):
    """How the graphs of a kind of model are run."""

    def check(self, folder: Path, manifest: Manifest, graph: Graph, sessions: Sessions) -> None:
        """Compares what the graphs read and give with the manifest. Raises BundleError."""
        ...

    def check_prompt(self, bundle: OpenBundle, prompt: Prompt) -> None:
        """Refuses texts with which this kind of model cannot be run. Raises SettingsError, with what is wrong."""
        ...

    def sources(self, tokens: Tokens, prompt: Prompt, texts: Sequence[str], limit: int, first: int = 1) -> list[Ids]:
        """What the model reads before an answer, of so many tokens at most; longer texts are cut with a warning.

        first: the first text's number, in warnings and errors.
        """
        ...

    def labels(self, tokens: Tokens, prompt: Prompt, examples: Sequence[Example], limit: int) -> list[Ids]:
        """The examples' answers with the token that ends each, of so many at most; longer ones are cut, warned of."""
        ...

    def batches(self, tokens: Tokens, task: EncodedTask, places: Sequence[int], batch_tokens: int) -> Sequence[Batch]:
        """The examples at these places in batches by length; batch_tokens: the most tokens of one, with padding."""
        ...

    def short_is_faster(self, manifest: Manifest, batches: Sequence[Lengths]) -> bool:
        """Whether the graphs for short outputs score batches of these lengths faster."""
        ...

    def scorings(self, runner: Runner, batches: Sequence[Batch]) -> Sequence[Scoring]:
        """The batches, bound to the memory of one that is run after the other."""
        ...

    def cache(self, manifest: Manifest) -> Any:
        """Memory for `decoding`, which serves batches that come one after the other."""
        ...

    def decoding(self, runner: Runner, rows: Sequence[Ids], cache: Any) -> Decoding:
        """Answers to sources, as token ids."""
        ...

    def room(self, manifest: Manifest, rows: Sequence[Ids]) -> Ids:
        """How many tokens an answer to each source can have before the model's positions end, int64 (B,).

        Raises SettingsError for a source that is beyond them itself.
        """
        ...

    def before_answer(self, manifest: Manifest, rows: Sequence[Ids]) -> Sequence[Ids]:
        """The tokens that count as said before the answer to each source, for a repetition penalty."""
        ...

    def footprint(self, manifest: Manifest, batches: Sequence[Lengths], *, short: bool) -> int:
        """About how many bytes one worker takes to score batches of these lengths."""
        ...


def architecture_of(manifest: Manifest) -> Architecture:
    """That of the room beside this file which is called as the manifest calls the architecture."""
    module = import_module(f".{manifest.architecture.replace('-', '_')}", __package__)
    return cast(Architecture, module.ARCHITECTURE)
