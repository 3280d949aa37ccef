"""Which variant of a bundle's graphs candidates are evaluated with: by bundle, composition and examples."""

from __future__ import annotations

from ..bundle.graphs import Variant
from ..composition.stack import lora_type_for
from ..runtime.opened import EncodedTask, OpenBundle
from ..runtime.scoring import Batches


def scoring_variant(
    bundle: OpenBundle, composition: str, task: EncodedTask, batch_tokens: int, *, generates: bool
) -> Variant:
    """generates: the objective answers the examples with the same LoRA inputs, which graphs for scoring cannot."""
    short = not generates and Batches(bundle, task, batch_tokens).short
    return Variant(lora_type_for(bundle.manifest, composition, generates=generates), short)
