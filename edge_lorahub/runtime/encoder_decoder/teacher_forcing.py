"""Teacher forcing: the logits of given answers, in one run of the decoder."""

from __future__ import annotations

import numpy as np

from ...bundle.encoder_decoder import ATTENTION_MASK, PAST_TOKENS
from ...bundle.graphs import INPUT_IDS, LOGITS, PARTS, past_name
from ..architecture import Float32
from ..binding import Run, Runner, value_of
from .batches import Batch
from .encoded_source import Source, Space
from .positions import check_length


class TeacherForcing:
    """A batch's logits at its label positions; `logits` float32 (B, S, V) has them after `run`."""

    def __init__(self, runner: Runner, batch: Batch, space: Space | None = None) -> None:
        """space: for the largest batch of several; None: memory of its own."""
        config = runner.model.manifest.model
        labels = runner.model.tokens.pad(batch.labels)[0]
        count, length = labels.shape
        check_length(length, config.longest_output, "an answer", "--max-output-tokens")
        space = space or Space(runner, sources=batch.ids.size, labels=labels.size)
        self._lengths = list(map(len, batch.labels))
        self._source = Source(runner, batch.ids, batch.mask, space.encoded)
        # the decoder reads the labels one step late
        shifted = np.full_like(labels, config.start_token_id)
        shifted[:, 1:] = labels[:, :-1]
        logits = space.logits[: labels.size * config.vocab_size]
        self.logits: Float32 = logits.reshape(count, length, config.vocab_size)
        past = {}
        if not runner.variant.short:
            empty = value_of(np.empty((count, config.heads, 0, config.head_size), np.float32))
            past = {past_name(layer, part): empty for layer in range(config.layers) for part in PARTS}
            past[PAST_TOKENS] = value_of(np.zeros((), np.int64))
        self.decode = Run(
            runner,
            runner.sessions[1],
            {INPUT_IDS: value_of(shifted), ATTENTION_MASK: self._source.mask, **self._source.outputs, **past},
            {LOGITS: value_of(self.logits)},
        )

    def run(self) -> list[Float32]:
        self.encode()
        self.decode()
        return [logits[:length] for logits, length in zip(self.logits, self._lengths, strict=True)]

    def encode(self) -> None:
        self._source.run()
