"""What each module does alone to the examples' loss, as the search's probes see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..bundle.prompt import Prompt
from ..composition.stack import make_stack
from ..examples.example import Example
from ..lora.modules import Modules
from ..runtime.session import Model
from ..search.assisted import PROBE
from ..search.strategy import Proposal
from .loss_evaluator import LossEvaluator
from .objective import Float64, mean_loss
from .run import check_examples
from .settings import Settings
from .variant import scoring_variant
from .workbench import Workbench

# Modules in a stack: their matrices are in memory at once.
_AT_ONCE = 32


def losses_alone(
    model: Model, modules: Modules, examples: Sequence[Example], settings: Settings, prompt: Prompt,
    on_module: Callable[[int], None] = lambda number: None,
) -> Float64:  # fmt: skip
    """The mean cross-entropy of the examples with each module alone, at the weight of a probe: float64 (N,).

    Of settings the limits of tokens count. on_module is called with how many more are done. Raises ModuleMismatchError
    for a module that does not fit, and ExamplesError.
    """
    check_examples(examples)
    modules.check(model.manifest)
    task = model.bundle.encode(examples, settings.max_input_tokens, settings.max_output_tokens, prompt)
    variant = scoring_variant(model.bundle, "exact", task, settings.batch_tokens, generates=False)
    weight = min(PROBE, settings.bound)
    losses = []
    for start in range(0, len(modules), _AT_ONCE):
        part = list(modules)[start : start + _AT_ONCE]
        workbench = Workbench(
            model,
            make_stack(part, model.manifest, "exact", variant.lora_type),
            examples,
            max_input_tokens=settings.max_input_tokens,
            max_output_tokens=settings.max_output_tokens,
            batch_tokens=settings.batch_tokens,
            prompt=prompt,
        )
        evaluator = LossEvaluator(workbench, lambda each: np.zeros(len(each)), mean_loss, short=variant.short)
        for observation in evaluator(Proposal(weight * np.eye(len(part)), "probing")):
            losses.append(observation.loss)
            on_module(1)
    return np.array(losses)
