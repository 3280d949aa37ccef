"""Examples packed once in batches, and scored with whatever LoRA the runner has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...bundle.graphs import LOGITS
from ..architecture import Float32
from ..binding import Run, Runner, value_of
from ..opened import EncodedTask
from ..tokens import Ids, buckets
from .packing import Packed, Text, check_texts, pack


@dataclass(frozen=True)
class PackedBatch:
    """Examples of similar length: their places among all, and how they are packed."""

    members: list[int]
    packed: Packed

    @property
    def labels(self) -> list[Ids]:
        return list(self.packed.labels)


def packed_batches(
    task: EncodedTask, places: Sequence[int], longest: int | None, batch_tokens: int
) -> list[PackedBatch]:
    """The examples at these places in batches by length. Attention pays for padding, other layers do not.

    longest: the most tokens of a text that the model can read. Raises SettingsError.
    """
    texts = {
        place: Text(np.concatenate([task.sources[place], task.labels[place]]), len(task.sources[place]))
        for place in places
    }
    check_texts(texts, longest)  # here they have the numbers that the caller knows
    groups = buckets([len(texts[place].ids) for place in places], batch_tokens=batch_tokens)
    batches = [[places[i] for i in group] for group in groups]
    return [PackedBatch(members, pack([texts[place] for place in members])) for members in batches]


class PackedScoring:
    """One batch, bound to its inputs and to memory for its logits."""

    def __init__(self, runner: Runner, batch: PackedBatch, space: Float32) -> None:
        """space: float32 for the logits, as large as those of the largest of several batches."""
        packed, vocabulary = batch.packed, runner.model.manifest.model.vocab_size
        self._logits: Float32 = space[: packed.scored * vocabulary].reshape(packed.scored, vocabulary)
        self._ends = np.cumsum([len(labels) for labels in packed.labels])[:-1]
        inputs = {name: value_of(array) for name, array in packed.inputs.items()}
        self._run = Run(runner, runner.sessions[0], inputs, {LOGITS: value_of(self._logits)})

    def run(self) -> list[Float32]:
        self._run()
        return np.split(self._logits, self._ends)


def packed_scorings(runner: Runner, batches: Sequence[PackedBatch]) -> list[PackedScoring]:
    # a batch is done with before the next one comes: the largest one's space serves all
    most = max(batch.packed.scored for batch in batches)
    space = np.empty(most * runner.model.manifest.model.vocab_size, np.float32)
    return [PackedScoring(runner, batch, space) for batch in batches]
