"""The cross-entropy of examples: texts to batches once, and a scorer of them for every worker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bundle.manifest import Manifest
from ..examples.example import Example
from ..label_logits import LabelLogits, scored
from .binding import Runner, Scoring, Space
from .tokens import BATCH_TOKENS, Ids, Tokens, buckets

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Losses:
    """Cross-entropy by example: the sum over its label tokens (nats), and their number; both (E,)."""

    sums: Float64
    tokens: Float64

    def means(self) -> Float64:
        """The mean token cross-entropy of each example, (E,)."""
        return self.sums / self.tokens


# The most label tokens of an example, with their padding, for which absorbed graphs were not slower on texts of 30
# tokens and more, as a share of a head's size; by measurement (docs/design.md).
_SHORT = {"fp32": 1 / 4, "int8": 1 / 8}


def absorbing_is_faster(manifest: Manifest, batches: Iterable[tuple[int, int]]) -> bool:
    """Whether to load the absorbed graphs for these batches.

    batches: for each its source tokens, and the label tokens of an example, both with padding. Without keys and
    values the work for a source token is that of attending to the states, heads x labels x d, instead of a product
    of d x heads x head size; so what matters is the labels by a head's size.
    """
    sizes = list(batches)
    mean = sum(source * label for source, label in sizes) / max(1, sum(source for source, _ in sizes))
    return mean <= _SHORT[manifest.precision] * manifest.model.head_size


@dataclass(frozen=True)
class Batch:
    """Examples of similar length: their places among all, padded sources (B, L), and the labels of each."""

    members: list[int]
    ids: Ids
    mask: Ids
    labels: list[Ids]

    @property
    def size(self) -> tuple[int, int]:
        """Its source tokens, and the label tokens of an example, both with padding."""
        return self.ids.size, max(map(len, self.labels))


class Batches:
    """Examples as token ids, in batches by length. Never changes, so that all workers share it.

    digests has the hexadecimal SHA-256 of each example's tokens, as they are after cutting.
    """

    def __init__(
        self,
        tokens: Tokens,
        examples: Sequence[Example],
        max_input_tokens: int,
        max_output_tokens: int,
        batch_tokens: int = BATCH_TOKENS,
        arrange: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None,
    ) -> None:
        """arrange gives, for the digests, parts of the examples that share no batch, by their places; None: one."""
        sources = tokens.encode([e.input for e in examples], max_input_tokens)
        targets = tokens.encode([e.output for e in examples], max_output_tokens)
        self.tokens: Float64 = np.array([len(target) for target in targets], np.float64)
        self.digests = [_digest(s, t) for s, t in zip(sources, targets, strict=True)]
        self.batches = []
        for part in [range(len(examples))] if arrange is None else arrange(self.digests):
            for bucket in buckets([len(sources[i]) + len(targets[i]) for i in part], batch_tokens=batch_tokens):
                members = [part[i] for i in bucket]
                ids, mask = tokens.pad([sources[i] for i in members])
                self.batches.append(Batch(members, ids, mask, [targets[i] for i in members]))


def _digest(source: Ids, target: Ids) -> str:
    digest = hashlib.sha256(f"{len(source)} ".encode())
    for ids in (source, target):
        digest.update(np.ascontiguousarray(ids, "<i8").data)
    return digest.hexdigest()


class Scorer:
    """The cross-entropy of batches, for whatever the runner's LoRA inputs hold."""

    def __init__(self, runner: Runner, batches: Batches) -> None:
        self._batches = batches
        # a batch is done with before the next one comes: the largest one's space serves all
        space = Space(
            runner.model,
            sources=max(batch.size[0] for batch in batches.batches),
            labels=max(len(batch.labels) * batch.size[1] for batch in batches.batches),
        )
        pad = runner.model.tokens.pad
        self.scorings = [
            Scoring(runner, batch.ids, batch.mask, pad(batch.labels)[0], space) for batch in batches.batches
        ]

    def batch(self, index: int, keep: int = 0) -> list[tuple[float, LabelLogits | None]]:
        """For each example of one batch, in the order of its members, what `label_logits.scored` gives."""
        scoring = self.scorings[index]
        scoring.run()
        return [
            scored(logits[: len(labels)], labels, keep)
            for logits, labels in zip(scoring.logits, self._batches.batches[index].labels, strict=True)
        ]

    def losses(self) -> Losses:
        sums = np.empty_like(self._batches.tokens)
        for index, batch in enumerate(self._batches.batches):
            sums[batch.members] = [loss for loss, _ in self.batch(index)]
        return Losses(sums, self._batches.tokens)
