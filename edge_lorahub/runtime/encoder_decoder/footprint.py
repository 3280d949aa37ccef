"""How much memory it takes to score a batch."""

from __future__ import annotations

from collections.abc import Sequence

from ...bundle.graphs import PARTS
from ...bundle.manifest import Manifest, ModelConfig, Slot
from ..architecture import Lengths

_FLOAT = 4
# What ONNX Runtime holds of a token while it runs, in numbers of the model's width: the residual, its norm, the
# queries, keys and values twice, and three of the feed-forward's layers, each at most 4 wide.
_ACTIVATIONS = 20


def footprint(manifest: Manifest, batches: Sequence[Lengths], *, short: bool) -> int:
    """About the bytes of the largest batch's inputs, outputs and activations."""
    model = manifest.model
    width = max(map(_model_width, manifest.slots))
    kept = arena = 0
    for batch in batches:
        longest, label = map(max, zip(*batch, strict=True))
        source, labels = len(batch) * longest, len(batch) * label
        encoded = source * width if short else _keys_and_values(model, source)
        scores = 2 * model.heads * (source + labels) * (longest + label)
        kept = max(kept, encoded + labels * model.vocab_size)
        arena = max(arena, _keys_and_values(model, labels) + scores + _ACTIVATIONS * width * max(source, labels))
    return _FLOAT * (kept + arena)


def _keys_and_values(model: ModelConfig, tokens: int) -> int:
    """How many numbers the keys and values of so many tokens are, in all layers of the decoder."""
    return len(PARTS) * model.layers * tokens * model.heads * model.head_size


def _model_width(slot: Slot) -> int:
    return slot.d_out if slot.kind in ("o", "wo") else slot.d_in
