"""The loss of examples with an adapter, as `adapt` counts it."""

from __future__ import annotations

from collections.abc import Sequence

from ..bundle.prompt import Prompt
from ..composition.adapter import Adapter
from ..examples.example import Example
from .binding import Runner
from .scoring import Batches, Scorer
from .session import Model

# Of a text and of its output: what `adapt` reads.
_MOST_TOKENS = 2048


def adapter_loss(model: Model, adapter: Adapter, examples: Sequence[Example], prompt: Prompt | None = None) -> float:
    """The mean over examples of their mean token cross-entropy, in nats; prompt: None: the bundle's own.

    Raises ModuleMismatchError where the adapter does not fit, or SettingsError for texts that are too long.
    """
    batches = Batches(model.bundle, model.bundle.encode(examples, _MOST_TOKENS, _MOST_TOKENS, prompt))
    runner = Runner(model, "score", adapter.inputs(model.manifest), short=batches.short)
    return float(Scorer(runner, batches).losses().means().mean())
