"""Encoder-decoders: T5 and its relatives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...bundle.graphs import Graph
from ...bundle.manifest import Manifest
from ...bundle.prompt import Prompt
from ...errors import SettingsError
from ...examples.example import Example
from ..architecture import Architecture, Lengths, Sessions
from ..architecture import Batch as AnyBatch
from ..binding import Runner
from ..framing import framed_sources
from ..kv_cache import KeyValueCache
from ..opened import EncodedTask, OpenBundle
from ..tokens import Ids, Tokens
from .batches import Batch, make_batches, short_is_faster
from .encoded_source import Source, Space, in_fours
from .footprint import footprint
from .positions import check_length
from .session_check import check_sessions
from .stepping import Stepping
from .teacher_forcing import TeacherForcing


class EncoderDecoder:
    """How encoder-decoders are run; see `architecture.Architecture`."""

    def check(self, folder: Path, manifest: Manifest, graph: Graph, sessions: Sessions) -> None:
        check_sessions(folder, manifest, graph, sessions)

    def check_prompt(self, bundle: OpenBundle, prompt: Prompt) -> None:
        if prompt.lead or prompt.end:
            raise SettingsError(
                "lead and end are for models that answer in the same text; in a prompt for "
                f"{bundle.folder} they must be empty"
            )

    def sources(self, tokens: Tokens, prompt: Prompt, texts: Sequence[str], limit: int, first: int = 1) -> list[Ids]:
        return framed_sources(tokens, texts, prompt, limit, first)

    def labels(self, tokens: Tokens, prompt: Prompt, examples: Sequence[Example], limit: int) -> list[Ids]:
        return tokens.encode([prompt.label(example.output) for example in examples], limit)

    def batches(self, tokens: Tokens, task: EncodedTask, places: Sequence[int], batch_tokens: int) -> list[Batch]:
        return make_batches(tokens, task, places, batch_tokens)

    def short_is_faster(self, manifest: Manifest, batches: Sequence[Lengths]) -> bool:
        return short_is_faster(manifest, batches)

    def scorings(self, runner: Runner, batches: Sequence[AnyBatch]) -> list[TeacherForcing]:
        own = [batch for batch in batches if isinstance(batch, Batch)]
        # a batch is done with before the next one comes: the largest one's space serves all
        space = Space(
            runner,
            sources=max(batch.ids.size for batch in own),
            labels=max(len(batch.labels) * max(map(len, batch.labels)) for batch in own),
        )
        return [TeacherForcing(runner, batch, space) for batch in own]

    def cache(self, manifest: Manifest) -> KeyValueCache:
        return KeyValueCache(manifest.model)

    def decoding(self, runner: Runner, rows: Sequence[Ids], cache: KeyValueCache) -> Stepping:
        padded = in_fours(*runner.model.tokens.pad(rows), runner.model.manifest.model)
        return Stepping(runner, Source(runner, *padded), cache)

    def room(self, manifest: Manifest, rows: Sequence[Ids]) -> Ids:
        for row in rows:
            check_length(len(row), manifest.model.longest_input, "a text", "--max-input-tokens")
        longest = manifest.model.longest_output
        return np.full(len(rows), np.iinfo(np.int64).max if longest is None else longest)

    def before_answer(self, manifest: Manifest, rows: Sequence[Ids]) -> list[Ids]:
        """As transformers counts, the start token alone: the encoder reads the source."""
        assert manifest.model.start_token_id is not None  # looked at when the sessions were checked
        return [np.array([manifest.model.start_token_id], np.int64)] * len(rows)

    def footprint(self, manifest: Manifest, batches: Sequence[Lengths], *, short: bool) -> int:
        return footprint(manifest, batches, short=short)


ARCHITECTURE: Architecture = EncoderDecoder()
