"""An evaluator of candidates, set up as `adapt` sets it up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edge_lorahub import Example, Modules, Settings, load
from edge_lorahub.composition.stack import make_stack
from edge_lorahub.learning.objective import Evaluator
from edge_lorahub.learning.variant import scoring_variant
from edge_lorahub.runtime.scoring import Losses
from edge_lorahub.search.choose import at_once


def evaluator(
    bundle: Path, modules: Modules, task: Sequence[Example], composition: str, threads: int,
    reduce: Callable[[Losses], float], *, strength: float = 0.0,
) -> Evaluator:  # fmt: skip
    """reduce makes a candidate's loss of the losses by example; strength times mean |w| is added to it."""
    settings = Settings(composition=composition)
    model = load(bundle, threads=threads)
    limits = settings.max_input_tokens, settings.max_output_tokens
    encoded = model.bundle.encode(task, *limits)
    variant = scoring_variant(model.bundle, composition, encoded, settings.batch_tokens, generates=False)
    return Evaluator(
        model, make_stack(list(modules), model.manifest, composition, variant.lora_type), task, strength=strength,
        max_input_tokens=limits[0], max_output_tokens=limits[1], short=variant.short, reduce=reduce,
        workers=min(at_once(settings), model.threads),
    )  # fmt: skip
