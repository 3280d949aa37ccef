"""How much memory it takes to score a batch of packed examples."""

from __future__ import annotations

from collections.abc import Sequence

from ...bundle.manifest import Manifest
from ..architecture import Lengths

_FLOAT = 4
# What ONNX Runtime holds of a token while it runs, in numbers of the model's width: the residual, its norm, queries,
# keys, values and contexts, each packed and by text; and of the feed-forward's width: gate, up and their product.
_WIDE, _INNER = 12, 4
# The feed-forward's width by the model's, where no slot says it.
_USUAL = 4


def packed_footprint(manifest: Manifest, batches: Sequence[Lengths]) -> int:
    """About the bytes of the largest batch's logits and activations, as if its texts had nothing in common."""
    model = manifest.model
    queries = model.heads * model.head_size
    sides = [side for slot in manifest.slots for side in (slot.d_in, slot.d_out)]
    inner = max([*sides, _USUAL * queries])
    # a product in int8 is multiplied by the scales of its rows, into other memory
    copies = 2 if manifest.precision == "int8" else 1
    kept = arena = 0
    for batch in batches:
        tokens, labels = sum(map(sum, batch)), sum(label for _, label in batch)
        longest = max(map(sum, batch))
        padded = len(batch) * longest
        scores = 2 * model.heads * padded * longest
        kept = max(kept, copies * labels * model.vocab_size)
        arena = max(arena, scores + _WIDE * queries * padded + _INNER * inner * tokens)
    return _FLOAT * (kept + arena)
