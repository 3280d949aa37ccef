"""Examples in padded batches, and which graphs score them faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...bundle.manifest import Manifest
from ..architecture import Lengths
from ..opened import EncodedTask
from ..tokens import Ids, Tokens, buckets


@dataclass(frozen=True)
class Batch:
    """Examples of similar length: their places among all, padded sources int64 (B, T), and the labels of each."""

    members: list[int]
    ids: Ids
    mask: Ids
    labels: list[Ids]


def make_batches(tokens: Tokens, task: EncodedTask, places: Sequence[int], batch_tokens: int) -> list[Batch]:
    found = []
    lengths = [sum(task.lengths[place]) for place in places]
    for bucket in buckets(lengths, batch_tokens=batch_tokens):
        members = [places[i] for i in bucket]
        ids, mask = tokens.pad([task.sources[i] for i in members])
        found.append(Batch(members, ids, mask, [task.labels[i] for i in members]))
    return found


# The most label tokens of an example, with their padding, for which the graphs for short outputs were not slower on
# texts of 30 tokens and more, as a share of a head's size; by measurement (docs/decisions/011-absorbed-graphs.md).
_SHORT = {"fp32": 1 / 4, "int8": 1 / 8}


def short_is_faster(manifest: Manifest, batches: Sequence[Lengths]) -> bool:
    """Whether to take the graphs for short outputs.

    Without keys and values the work for a source token is that of attending to the states, heads x labels x d, instead
    of a product of d x heads x head size; so what matters is the labels by a head's size.
    """
    # of each batch its source tokens, and the label tokens of an example, both with padding
    sizes = [(len(batch) * max(s for s, _ in batch), max(label for _, label in batch)) for batch in batches]
    mean = sum(source * label for source, label in sizes) / max(1, sum(source for source, _ in sizes))
    return mean <= _SHORT[manifest.precision] * manifest.model.head_size
