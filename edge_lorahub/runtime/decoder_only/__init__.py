"""Decoder-only models: Llama and its relatives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...bundle.graphs import Graph
from ...bundle.manifest import Manifest, ModelConfig
from ...bundle.prompt import Prompt
from ...errors import SettingsError
from ...examples.example import Example
from ..architecture import Architecture, Batch, Lengths, Sessions
from ..binding import Runner
from ..kv_cache import KeyValueCache
from ..opened import EncodedTask, OpenBundle
from ..tokens import Ids, Tokens
from .graph_signature import check_signature
from .packed_footprint import packed_footprint
from .packed_scoring import PackedBatch, PackedScoring, packed_batches, packed_scorings
from .packing import check_length
from .prompted_encoding import encode_answers, encode_prompts
from .text_decoding import TextDecoding


class DecoderOnly:
    """How decoder-only models are run; see `architecture.Architecture`."""

    def check(self, folder: Path, manifest: Manifest, graph: Graph, sessions: Sessions) -> None:
        check_signature(folder, manifest, graph, sessions)

    def check_prompt(self, bundle: OpenBundle, prompt: Prompt) -> None:
        if not prompt.end or prompt.end == bundle.manifest.prompt.end:  # which was looked at when it was exported
            return
        ids = bundle.tokens.encodings([prompt.end], added=False)[0].ids
        if not ids or ids[0] not in bundle.manifest.model.end_token_ids:
            raise SettingsError(
                f"no answer ends with {prompt.end!r:.60}, whose first token is none that ends an answer of this model; "
                "leave end out, and the model's own end is taken"
            )

    def sources(self, tokens: Tokens, prompt: Prompt, texts: Sequence[str], limit: int, first: int = 1) -> list[Ids]:
        return encode_prompts(tokens, prompt, texts, limit, first)

    def labels(self, tokens: Tokens, prompt: Prompt, examples: Sequence[Example], limit: int) -> list[Ids]:
        pairs = [(example.input, example.output) for example in examples]
        return encode_answers(tokens, prompt, pairs, limit, ends_of(tokens.config))

    def batches(self, tokens: Tokens, task: EncodedTask, places: Sequence[int], batch_tokens: int) -> list[PackedBatch]:
        return packed_batches(task, places, tokens.config.longest_text, batch_tokens)

    def short_is_faster(self, manifest: Manifest, batches: Sequence[Lengths]) -> bool:
        return False

    def scorings(self, runner: Runner, batches: Sequence[Batch]) -> list[PackedScoring]:
        return packed_scorings(runner, [batch for batch in batches if isinstance(batch, PackedBatch)])

    def cache(self, manifest: Manifest) -> KeyValueCache:
        return KeyValueCache(manifest.model)

    def decoding(self, runner: Runner, rows: Sequence[Ids], cache: KeyValueCache) -> TextDecoding:
        return TextDecoding(runner, rows, cache)

    def room(self, manifest: Manifest, rows: Sequence[Ids]) -> Ids:
        longest = manifest.model.longest_text
        assert longest is not None  # looked at when the sessions were checked
        for row in rows:
            check_length(len(row), longest, "a prompt", "--max-input-tokens")
        # the last position of all predicts a token too
        return np.maximum(1, longest - np.array([len(row) for row in rows], np.int64))

    def before_answer(self, manifest: Manifest, rows: Sequence[Ids]) -> Sequence[Ids]:
        """The prompts, as transformers counts."""
        return rows

    def footprint(self, manifest: Manifest, batches: Sequence[Lengths], *, short: bool) -> int:
        return packed_footprint(manifest, batches)


def ends_of(config: ModelConfig) -> tuple[int, ...]:
    """The tokens that end an answer, first the one that ends an answer which is learned from."""
    return config.eos_token_id, *config.end_token_ids


ARCHITECTURE: Architecture = DecoderOnly()
