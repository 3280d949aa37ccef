"""Texts -> padded id tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edge_lorahub.tinyhub.vocabulary import vocabulary

_IDS = {token: i for i, token in enumerate(vocabulary())}
_EOS = 1
IGNORED = -100  # the label that cross-entropy skips


def encode(texts: Sequence[str], fill: int) -> torch.Tensor:
    """Texts -> (len(texts), longest) int64, ended by ``</s>`` and filled up with ``fill``."""
    rows = [[_IDS[word] for word in text.split()] + [_EOS] for text in texts]
    longest = max(map(len, rows))
    return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])


def to_batch(pairs: Sequence[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """Pairs of texts -> the arguments of ``T5ForConditionalGeneration.forward``."""
    ids = encode([source for source, _ in pairs], 0)
    labels = encode([target for _, target in pairs], IGNORED)
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}
