"""The cross-entropy of examples: texts to batches once, and a scorer of them for every worker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..label_logits import LabelLogits, scored
from .binding import Runner
from .opened import EncodedTask, OpenBundle
from .tokens import BATCH_TOKENS, Ids

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Losses:
    """Cross-entropy by example: the sum over its label tokens (nats), and their number; both (E,)."""

    sums: Float64
    tokens: Float64

    def means(self) -> Float64:
        """The mean token cross-entropy of each example, (E,)."""
        return self.sums / self.tokens


class Batches:
    """Examples as token ids, in batches by length. Never changes, so that all workers share it.

    digests has the hexadecimal SHA-256 of each example's tokens, as they are after cutting.
    """

    def __init__(
        self,
        bundle: OpenBundle,
        task: EncodedTask,
        batch_tokens: int = BATCH_TOKENS,
        arrange: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None,
    ) -> None:
        """arrange gives, for the digests, parts of the examples that share no batch, by their places; None: one."""
        self.tokens: Float64 = np.array([len(label) for label in task.labels], np.float64)
        self.digests = [_digest(s, t) for s, t in zip(task.sources, task.labels, strict=True)]
        architecture, lengths = bundle.architecture, task.lengths
        parts = [range(len(lengths))] if arrange is None else arrange(self.digests)
        self.batches = [b for part in parts for b in architecture.batches(bundle.tokens, task, part, batch_tokens)]
        # whether the graphs for short outputs are the faster ones
        self.short = architecture.short_is_faster(
            bundle.manifest, [[lengths[member] for member in batch.members] for batch in self.batches]
        )


def _digest(source: Ids, target: Ids) -> str:
    digest = hashlib.sha256(f"{len(source)} ".encode())
    for ids in (source, target):
        digest.update(np.ascontiguousarray(ids, "<i8").data)
    return digest.hexdigest()


class Scorer:
    """The cross-entropy of batches, for whatever the runner's LoRA inputs hold."""

    def __init__(self, runner: Runner, batches: Batches) -> None:
        self._batches = batches
        self.scorings = runner.model.architecture.scorings(runner, batches.batches)

    def batch(self, index: int, keep: int = 0) -> list[tuple[float, LabelLogits | None]]:
        """For each example of one batch, in the order of its members, what `label_logits.scored` gives."""
        logits = self.scorings[index].run()
        labels = self._batches.batches[index].labels
        return [scored(*pair, keep) for pair in zip(logits, labels, strict=True)]

    def losses(self) -> Losses:
        sums = np.empty_like(self._batches.tokens)
        for index, batch in enumerate(self._batches.batches):
            sums[batch.members] = [loss for loss, _ in self.batch(index)]
        return Losses(sums, self._batches.tokens)
