"""A bundle that is open: its manifest read once, and the texts of its examples encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..bundle.manifest import TOKENIZER, read_manifest
from ..bundle.prompt import Prompt
from ..examples.example import Example
from ..files.user_path import user_path
from .architecture import Architecture, architecture_of
from .framing import warn_of_reserved
from .tokens import Ids, Tokens


@dataclass(frozen=True)
class EncodedTask:
    """Examples as token ids: what the model reads of each, and the labels that it is to answer with."""

    sources: list[Ids]
    labels: list[Ids]

    @property
    def lengths(self) -> list[tuple[int, int]]:
        """The (source, label) tokens of each example."""
        return [(len(source), len(label)) for source, label in zip(self.sources, self.labels, strict=True)]


class OpenBundle:
    """A bundle's folder, manifest and tokenizer, shared by all that use them. Runs nothing."""

    def __init__(self, folder: str | Path) -> None:
        """Raises MissingPathError or BundleError."""
        self.folder = user_path(folder)
        self.manifest = read_manifest(self.folder)
        self._task: tuple[object, EncodedTask] | None = None

    @cached_property
    def tokens(self) -> Tokens:
        return Tokens(self.folder / TOKENIZER, self.manifest.model)

    @cached_property
    def architecture(self) -> Architecture:
        return architecture_of(self.manifest)

    def sources(self, texts: Sequence[str], limit: int, first: int = 1, prompt: Prompt | None = None) -> list[Ids]:
        """What the model reads before its answer to each text, as token ids; see `Architecture.sources`.

        prompt: the texts around each, None: the bundle's own.
        """
        prompt = self.manifest.prompt if prompt is None else prompt
        return self.architecture.sources(self.tokens, prompt, texts, limit, first)

    def encode(
        self,
        examples: Sequence[Example],
        max_input_tokens: int,
        max_output_tokens: int,
        prompt: Prompt | None = None,
    ) -> EncodedTask:
        """The examples as token ids; those of the last call are kept. Warns of texts that are cut, once.

        prompt: the texts around each, None: the bundle's own.
        """
        prompt = self.manifest.prompt if prompt is None else prompt
        asked = tuple(examples), max_input_tokens, max_output_tokens, prompt
        kept = self._task  # which another thread may replace meanwhile
        if kept is None or kept[0] != asked:
            outputs = [example.output for example in examples]
            warn_of_reserved(outputs, prompt.output_rule, "output")
            task = EncodedTask(
                self.sources([example.input for example in examples], max_input_tokens, prompt=prompt),
                self.architecture.labels(self.tokens, prompt, examples, max_output_tokens),
            )
            self._task = kept = asked, task
        return kept[1]
