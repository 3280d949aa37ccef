"""The cross-entropy of texts' completions: packed once in batches, and scored with whatever the LoRA inputs hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...bundle.decoder_only import DecoderDimensions
from ...bundle.encoder_decoder import LOGITS
from ...label_logits import LabelLogits, scored
from ...machine.onnx_runtime import ort
from ..scoring import Losses
from ..tokens import BATCH_TOKENS, buckets
from .packing import Packed, Text, check_texts, pack
from .strict_binding import Array, Binding, Float32


@dataclass(frozen=True)
class PackedBatch:
    """Texts of similar length: their places among all, and how they are packed."""

    members: list[int]
    packed: Packed


def packed_batches(
    texts: Sequence[Text], longest: int | None = None, batch_tokens: int = BATCH_TOKENS
) -> list[PackedBatch]:
    """All texts in batches by length. Attention pays for padding, other layers do not. Raises SettingsError."""
    check_texts(texts, longest)  # here they have the numbers that the caller knows
    groups = buckets([len(text.ids) for text in texts], batch_tokens=batch_tokens)
    return [PackedBatch(members, pack([texts[i] for i in members])) for members in groups]


class PackedScorer:
    """The cross-entropy of batches, for one thread."""

    def __init__(
        self,
        session: ort.InferenceSession,
        dimensions: DecoderDimensions,
        batches: Sequence[PackedBatch],
        lora: Mapping[str, Array],
    ) -> None:
        """session: of the graph "score". lora: its LoRA inputs by name, whose numbers may change before each run."""
        self._batches = batches
        # a batch is done with before the next one comes: the largest one's space serves all
        space = np.empty(max(batch.packed.scored for batch in batches) * dimensions.vocab_size, np.float32)
        self._logits: list[Float32] = []
        self._runs: list[Binding] = []
        for batch in batches:
            size = batch.packed.scored, dimensions.vocab_size
            logits = space[: size[0] * size[1]].reshape(size)
            self._logits.append(logits)
            self._runs.append(Binding(session, {**batch.packed.inputs, **lora}, {LOGITS: logits}))

    def logits(self, index: int) -> list[Float32]:
        """Runs one batch; for each of its texts the logits that predict its label tokens, views (labels, V)."""
        self._runs[index]()
        ends = np.cumsum([len(labels) for labels in self._batches[index].packed.labels])
        return np.split(self._logits[index], ends[:-1])

    def batch(self, index: int, keep: int = 0) -> list[tuple[float, LabelLogits | None]]:
        """For each text of one batch, in the order of its members, what `label_logits.scored` gives."""
        labels = self._batches[index].packed.labels
        return [scored(rows, mine, keep) for rows, mine in zip(self.logits(index), labels, strict=True)]

    def losses(self) -> Losses:
        """Of all texts, in their order."""
        count = sum(len(batch.members) for batch in self._batches)
        sums, tokens = np.empty(count), np.empty(count)
        for index, batch in enumerate(self._batches):
            sums[batch.members] = [loss for loss, _ in self.batch(index)]
            tokens[batch.members] = [len(labels) for labels in batch.packed.labels]
        return Losses(sums, tokens)
