"""Step-by-step decoding of an encoded batch, with a cache of keys and values that is written in place."""

from __future__ import annotations

import numpy as np

from ...bundle.encoder_decoder import ATTENTION_MASK, PAST_TOKENS
from ...bundle.graphs import INPUT_IDS, LOGITS
from ..architecture import Bools, Float32
from ..binding import Run, Runner, value_of
from ..kv_cache import KeyValueCache
from ..tokens import Ids
from .encoded_source import Source
from .positions import check_length

# Tokens that a cache has room for at first; it doubles when it is full.
_ROOM = 64


class Stepping:
    """One token a sequence at a time. Its cache may serve another batch when this one is done."""

    def __init__(self, runner: Runner, source: Source, cache: KeyValueCache) -> None:
        config = runner.model.manifest.model
        assert config.start_token_id is not None  # looked at when the sessions were checked
        self._start = config.start_token_id
        self._longest = config.longest_output
        self._source = source
        self._cache = cache
        self._batch = source.batch
        self._ids: Ids = np.zeros((source.batch, 1), np.int64)
        self._past = np.zeros((), np.int64)
        self._logits: Float32 = np.empty((source.batch, 1, config.vocab_size), np.float32)
        inputs = {
            INPUT_IDS: value_of(self._ids),
            PAST_TOKENS: value_of(self._past),
            ATTENTION_MASK: source.mask,
            **source.outputs,
        }
        self._run = Run(runner, runner.sessions[1], inputs, {LOGITS: value_of(self._logits)})
        self._room = 0

    def start(self) -> Float32:
        """Encodes; the logits of the first token, float32 (B, V)."""
        self._source.run()
        return self.step(np.full(self._batch, self._start, np.int64))

    def step(self, ids: Ids, running: Bools | None = None) -> Float32:
        """One token a sequence, ids (B,) -> logits float32 (B, V), which the next step overwrites.

        All sequences have the same length in the cache, also those that do not go on.
        """
        check_length(int(self._past) + 1, self._longest, "an answer", "--max-new-tokens")
        if self._past == self._room:
            self._make_room()
        self._ids[:, 0] = ids
        self._run()
        self._past += 1
        return self._logits[:, 0]

    def _make_room(self) -> None:
        filled = int(self._past)
        old = self._cache.arrays(self._batch, self._room)
        self._room = max(_ROOM, 2 * self._room)
        # the old and the new may be one memory, which NumPy copies as if they were not
        for names, array in self._cache.arrays(self._batch, self._room).items():
            array[:, :, :filled] = old[names][:, :, :filled]
            self._run.bind_both(*names, value_of(array))
