"""The best single module: the one with the least loss on the examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..bundle.prompt import Prompt
from ..composition.stack import make_stack
from ..examples.example import Example
from ..lora.modules import Modules
from ..runtime.binding import Runner
from ..runtime.scoring import Batches, Scorer
from ..runtime.session import Model

Float64 = NDArray[np.float64]


def best_single(
    model: Model, modules: Modules, examples: Sequence[Example], prompt: Prompt | None = None,
    max_input_tokens: int = 2048, max_output_tokens: int = 256,
) -> Float64:  # fmt: skip
    """The weights (N,) that are 1 for the module whose mean loss on the examples is least, the first of equals.

    prompt: the texts around each example, None: the bundle's own.
    """
    runner = Runner(model, "score", make_stack(list(modules), model.manifest, "exact").inputs())
    task = model.bundle.encode(examples, max_input_tokens, max_output_tokens, prompt)
    scorer = Scorer(runner, Batches(model.bundle, task))
    losses = []
    for one_hot in np.eye(len(modules)):
        runner.lora.inputs.compose(one_hot)
        losses.append(scorer.losses().means().mean())
    weights: Float64 = np.eye(len(modules))[int(np.argmin(losses))]
    return weights
