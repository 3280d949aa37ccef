"""An evaluator of candidates, set up as `adapt` sets it up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from edge_lorahub import Example, Modules, Settings, load
from edge_lorahub.composition.stack import make_stack
from edge_lorahub.learning.loss_evaluator import LossEvaluator
from edge_lorahub.learning.objective import regularization
from edge_lorahub.learning.variant import scoring_variant
from edge_lorahub.learning.workbench import Workbench
from edge_lorahub.runtime.scoring import Losses
from edge_lorahub.search.choose import at_once


def evaluator(
    bundle: Path, modules: Modules, task: Sequence[Example], composition: str, threads: int,
    reduce: Callable[[Losses], float], *, strength: float = 0.0,
) -> LossEvaluator:  # fmt: skip
    """reduce makes a candidate's loss of the losses by example; strength times mean |w| is added to it."""
    settings = Settings(composition=composition)
    model = load(bundle, threads=threads)
    limits = settings.max_input_tokens, settings.max_output_tokens
    encoded = model.bundle.encode(task, *limits)
    variant = scoring_variant(model.bundle, composition, encoded, settings.batch_tokens, generates=False)
    stack = make_stack(list(modules), model.manifest, composition, variant.lora_type)
    workbench = Workbench(
        model, stack, task, max_input_tokens=limits[0], max_output_tokens=limits[1],
        workers=min(at_once(settings), model.threads),
    )  # fmt: skip
    return LossEvaluator(workbench, partial(regularization, strength=strength), reduce, short=variant.short)
