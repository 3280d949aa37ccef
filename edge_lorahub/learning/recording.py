"""From a search to the record of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..bundle.graphs import Variant
from ..bundle.manifest import MANIFEST
from ..bundle.prompt import Prompt
from ..composition.record import Contribution, Explained, LearnedModule, SearchInputs, SettingsInForce, Tried
from ..composition.record_check import learned_bundle, learned_examples
from ..examples.example import Example
from ..files.outputs import sha256
from ..lora.modules import Modules
from ..runtime.session import Model
from ..search.explain import Explanation
from ..search.strategy import Candidate
from .settings import Settings

Float64 = NDArray[np.float64]


def search_inputs(
    model: Model, modules: Modules, examples: Sequence[Example], settings: Settings, variant: Variant,
    prompt: Prompt, start: Float64 | None,
) -> SearchInputs:  # fmt: skip
    """What goes into a search; start: the weights that it begins with, (N,)."""
    return SearchInputs(
        made_by=f"edge-lorahub {__version__}",
        base_model=model.manifest.model.base_model,
        bundle_sha256=sha256(model.folder / MANIFEST),
        bundle=learned_bundle(model.manifest),
        precision=model.manifest.precision,
        lora_type=variant.lora_type,
        short=variant.short,
        prompt=prompt,
        threads=model.threads,
        settings=settings_in_force(settings),
        modules=tuple(LearnedModule(m.name, str(m.folder), m.sha256) for m in modules),
        examples=learned_examples(examples),
        start=None if start is None else dict(zip(modules.names, start.tolist(), strict=True)),
    )


def settings_in_force(settings: Settings) -> SettingsInForce:
    chosen = {
        "composition": settings.chosen_composition,
        "regularization": settings.strength,
        "surrogate": settings.assisted,
    }
    return SettingsInForce(**(asdict(settings) | chosen))


def tried(trace: Iterable[Candidate]) -> tuple[Tried, ...]:
    """Every candidate."""
    return tuple(Tried(tuple(c.weights.tolist()), _number(c.loss), c.phase, c.predicted) for c in trace)


def explained(explanation: Explanation, names: Sequence[str]) -> Explained:
    """The contributions of modules with a weight, and the guard against overfitting."""
    contributions = {
        name: Contribution(*map(_number, row.tolist()))
        for name, row in zip(names, explanation.contributions, strict=True)
        if row[0] != 0
    }
    left_out, plain = (tuple(map(_number, v.tolist())) for v in (explanation.left_out, explanation.plain))
    return Explained(contributions, left_out, plain, explanation.checked)


def _number(value: float) -> float | None:
    """None for what JSON has no number for."""
    return float(value) if np.isfinite(value) else None
