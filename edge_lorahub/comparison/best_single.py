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
from ..runtime.tokens import BATCH_TOKENS

Float64 = NDArray[np.float64]


def best_single(
    model: Model, modules: Modules, examples: Sequence[Example], prompt: Prompt | None = None,
    max_input_tokens: int = 2048, max_output_tokens: int = 2048, batch_tokens: int = BATCH_TOKENS,
) -> Float64:  # fmt: skip
    """The weights (N,) that are 1 for the module whose mean loss on the examples is least, the first of equals.

    prompt: the texts around each example, None: the bundle's own. One module is in memory at a time.
    """
    task = model.bundle.encode(examples, max_input_tokens, max_output_tokens, prompt)
    batches = Batches(model.bundle, task, batch_tokens)
    losses = np.empty(len(modules))
    # modules of the same layers one after another, so that their graphs are loaded once
    for place in sorted(range(len(modules)), key=lambda place: sorted(modules[place].shapes)):
        lora = make_stack([modules[place]], model.manifest, "exact").inputs()
        lora.compose(np.ones(1))
        losses[place] = Scorer(Runner(model, "score", lora), batches).losses().means().mean()
    weights: Float64 = np.eye(len(modules))[int(np.argmin(losses))]
    return weights
