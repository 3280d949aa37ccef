"""Texts token by token, with a cache of keys and values that is written in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...bundle.decoder_only import ENDS, LAST, TOTAL, DecoderDimensions
from ...bundle.encoder_decoder import INPUT_IDS, LOGITS, PARTS, past_name, present_name
from ...errors import SettingsError
from ...machine.onnx_runtime import ort
from .packing import Ids, check_length
from .strict_binding import Array, Binding, Float32

# Tokens that a cache has room for beside the longest prompt; it doubles when it is full.
_ROOM = 64


class KeyValueCache:
    """Memory for the keys and values of all layers; one serves batches that come one after the other."""

    def __init__(self, dimensions: DecoderDimensions) -> None:
        layers = range(dimensions.layers)
        self._names = [(past_name(layer, part), present_name(layer, part)) for layer in layers for part in PARTS]
        self._heads, self._size = dimensions.kv_heads, dimensions.head_size
        self._memory: list[Float32] = [np.empty(0, np.float32)] * len(self._names)

    def arrays(self, batch: int, room: int) -> dict[tuple[str, str], Float32]:
        """For the names of each cache's input and output its memory, (B, kv heads, C, K), C = room."""
        shape = batch, self._heads, room, self._size
        needed = int(np.prod(shape, dtype=np.int64))
        if self._memory[0].size < needed:
            # zeros: what is behind a text's end is multiplied by 0, and must be a number
            self._memory = [np.zeros(needed, np.float32) for _ in self._names]
        return {names: memory[:needed].reshape(shape) for names, memory in zip(self._names, self._memory, strict=True)}


class TextDecoding:
    """A batch of texts: `start` reads the prompts, `step` adds a token to each text.

    Its cache may serve another batch when this one is done. For one thread.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        dimensions: DecoderDimensions,
        lora: Mapping[str, Array],
        cache: KeyValueCache | None = None,
    ) -> None:
        """session: of the graph "generate". lora: its LoRA inputs by name. cache: memory to use; None: its own."""
        self._session, self._dimensions, self._lora = session, dimensions, lora
        self._cache = cache or KeyValueCache(dimensions)
        self._room = 0

    def start(self, prompts: Sequence[Ids]) -> Float32:
        """Prompts of any lengths -> the logits of each one's next token, (B, V), which the next step overwrites.

        Raises SettingsError for a prompt without tokens, or longer than the model's positions.
        """
        lengths = np.array([len(prompt) for prompt in prompts])
        if not lengths.all():
            raise SettingsError(f"prompt {int(lengths.argmin()) + 1} has no tokens; there must be at least one")
        batch, longest = len(prompts), int(lengths.max())
        check_length(longest, self._dimensions.longest, f"prompt {int(lengths.argmax()) + 1}")
        ids = np.zeros((batch, longest), np.int64)  # what fills up a shorter prompt is never looked at
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt)] = prompt
        self._ends = (lengths - 1).astype(np.int32)
        self._room = min(longest + _ROOM, self._dimensions.longest)
        self._logits: Float32 = np.empty((batch, self._dimensions.vocab_size), np.float32)
        run = self._run(ids, np.array(longest, np.int32), np.arange(batch) * longest + lengths - 1)
        for names, array in self._cache.arrays(batch, self._room).items():
            run.bind_both(*names, array)
        run()
        # bound once for all steps
        self._ids: Ids = np.zeros((batch, 1), np.int64)
        self._total = np.array(longest, np.int32)
        self._step = self._run(self._ids, self._total, np.arange(batch))
        for names, array in self._cache.arrays(batch, self._room).items():
            self._step.bind_both(*names, array)
        return self._logits

    def step(self, ids: Ids, going_on: Array | None = None) -> Float32:
        """One token a text, ids (B,) -> logits (B, V), which the next step overwrites.

        going_on, bool (B,): the texts that do; another's token is put where its last one was. None: all. Raises
        SettingsError where the model's positions end.
        """
        self._ends += 1 if going_on is None else going_on.astype(np.int32)
        self._total[...] = self._ends.max() + 1
        check_length(int(self._total), self._dimensions.longest, f"text {int(self._ends.argmax()) + 1}")
        if self._total > self._room:
            self._make_room()
        self._ids[:, 0] = ids
        self._step()
        return self._logits

    def _run(self, ids: Ids, total: Array, last: Array) -> Binding:
        inputs: dict[str, Array] = {
            INPUT_IDS: ids,
            ENDS: self._ends,
            TOTAL: total,
            LAST: last.astype(np.int64),
            **self._lora,
        }
        return Binding(self._session, inputs, {LOGITS: self._logits})

    def _make_room(self) -> None:
        filled, batch = self._room, len(self._ids)
        old = self._cache.arrays(batch, self._room)
        self._room = min(2 * self._room, self._dimensions.longest)
        # the old and the new may be one memory, which NumPy copies as if they were not
        for names, array in self._cache.arrays(batch, self._room).items():
            array[:, :, :filled] = old[names]
            self._step.bind_both(*names, array)


def greedy(decoding: TextDecoding, prompts: Sequence[Ids], max_new_tokens: int, end_tokens: Sequence[int]) -> list[Ids]:
    """The most probable tokens after each prompt, up to and without the first end token."""
    answers = []
    for row in np.stack(list(_steps(decoding, prompts, max_new_tokens, end_tokens)), axis=1):
        stops = np.flatnonzero(np.isin(row, end_tokens))
        answers.append(row[: stops[0]] if len(stops) else row)
    return answers


def _steps(
    decoding: TextDecoding, prompts: Sequence[Ids], max_new_tokens: int, end_tokens: Sequence[int]
) -> Iterator[Ids]:
    """The most probable next token of each text, (B,), until all have ended. A text that has goes on with its end."""
    if max_new_tokens < 1:
        raise SettingsError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    best = decoding.start(prompts).argmax(axis=1)
    yield best
    running = ~np.isin(best, end_tokens)
    for _ in range(max_new_tokens - 1):
        if not running.any():
            break
        best = np.where(running, decoding.step(best, running).argmax(axis=1), best)
        yield best
        running &= ~np.isin(best, end_tokens)
