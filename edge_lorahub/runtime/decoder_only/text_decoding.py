"""Texts token by token, with a cache of keys and values that is written in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...bundle.decoder_only import ENDS, LAST, TOTAL
from ...bundle.graphs import INPUT_IDS, LOGITS
from ...errors import SettingsError
from ..architecture import Bools, Float32
from ..binding import Run, Runner, value_of
from ..kv_cache import KeyValueCache
from ..tokens import Ids
from .packing import check_length

# Tokens that a cache has room for beside the longest prompt; it doubles when it is full.
_ROOM = 64


class TextDecoding:
    """A batch of texts: `start` reads the prompts, `step` adds a token to each text.

    Its cache may serve another batch when this one is done. For one thread.
    """

    def __init__(self, runner: Runner, prompts: Sequence[Ids], cache: KeyValueCache) -> None:
        """prompts: of any lengths. Raises SettingsError for one without tokens or beyond the model's positions."""
        config = runner.model.manifest.model
        assert config.longest_text is not None  # looked at when the sessions were checked
        self._runner, self._cache, self._longest = runner, cache, config.longest_text
        lengths = np.array([len(prompt) for prompt in prompts])
        if not lengths.all():
            raise SettingsError("a prompt has no tokens; there must be at least one")
        batch, longest = len(prompts), int(lengths.max())
        check_length(longest, self._longest, "a prompt", "--max-input-tokens")
        self._prompts: Ids = np.zeros((batch, longest), np.int64)  # what fills up a shorter one is never looked at
        for row, prompt in zip(self._prompts, prompts, strict=True):
            row[: len(prompt)] = prompt
        self._ends = (lengths - 1).astype(np.int32)
        self._total = np.array(longest, np.int32)
        self._room = min(longest + _ROOM, self._longest)
        self._ids: Ids = np.zeros((batch, 1), np.int64)
        self._logits: Float32 = np.empty((batch, config.vocab_size), np.float32)
        # bound once for all steps
        self._step = self._bound(self._ids, np.arange(batch))

    def start(self) -> Float32:
        """The logits of each text's first new token, (B, V), which the next step overwrites."""
        batch, longest = self._prompts.shape
        self._bound(self._prompts, np.arange(batch) * longest + self._ends)()
        return self._logits

    def step(self, ids: Ids, running: Bools | None = None) -> Float32:
        """One token a text, ids (B,) -> logits (B, V), which the next step overwrites.

        running (B,): which texts go on, None: all. What another gets is put where its last token was. Raises
        SettingsError where the model's positions end for one that goes on.
        """
        self._ends += 1 if running is None else running
        self._total[...] = self._ends.max() + 1
        check_length(int(self._total), self._longest, "a text", "a lower --max-new-tokens")
        if self._total > self._room:
            self._make_room()
        self._ids[:, 0] = ids
        self._step()
        return self._logits

    def _bound(self, ids: Ids, last: Ids) -> Run:
        """A run of new tokens (B, S), of which `last` (B,) are each text's last ones, counted through (B, S)."""
        inputs = {
            INPUT_IDS: value_of(ids),
            ENDS: value_of(self._ends),
            TOTAL: value_of(self._total),
            LAST: value_of(last.astype(np.int64)),
        }
        run = Run(self._runner, self._runner.sessions[0], inputs, {LOGITS: value_of(self._logits)})
        for names, array in self._cache.arrays(len(ids), self._room).items():
            run.bind_both(*names, value_of(array))
        return run

    def _make_room(self) -> None:
        filled, batch = self._room, len(self._ids)
        old = self._cache.arrays(batch, self._room)
        self._room = min(2 * self._room, self._longest)
        # the old and the new may be one memory, which NumPy copies as if they were not
        for names, array in self._cache.arrays(batch, self._room).items():
            array[:, :, :filled] = old[names]
            self._step.bind_both(*names, value_of(array))
