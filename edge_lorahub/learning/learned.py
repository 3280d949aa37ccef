"""What a search found, and the record of it that goes beside the adapter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..bundle.graphs import Variant
from ..bundle.manifest import MANIFEST, WEIGHTS, Manifest
from ..bundle.prompt import Prompt
from ..composition.adapter import Adapter, from_pairs
from ..composition.pairs import compose_pairs
from ..composition.prompt_record import PROMPT, prompt_record
from ..composition.record_check import bundle_record, examples_record
from ..examples.example import Example
from ..files.outputs import sha256
from ..lora.modules import Modules
from ..runtime.session import Model
from ..search.evaluations import Evaluations
from ..search.explain import Explanation
from ..search.strategy import Candidate
from .settings import Settings

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """What a search found. weights maps module names to w; the losses are without regularization.

    losses_before and losses_after (E,) are the examples' mean token cross-entropies, of the plain model and of what was
    learned; None where the objective did not compute them. budget: the most candidates that it was to evaluate, of
    which trace has those that it did; converged: it ended earlier, as it saw nothing more to gain. untried: modules
    that no candidate had. reused: how many evaluations of an example came from an earlier search. evaluations: what a
    later one can use of this one's; None where no surrogate assisted. explanation: what the surrogate says of the
    result, where one assisted. record is the adapter's sidecar. No adapter yet: its matrices can be larger than the
    model's, which may go first.
    """

    weights: dict[str, float]
    loss_before: float
    loss_after: float
    losses_before: Float64 | None
    losses_after: Float64 | None
    optimizer: str
    composition: str
    budget: int
    converged: bool
    seconds: float
    untried: tuple[str, ...] = field(repr=False)
    reused: int
    evaluations: Evaluations | None = field(repr=False)
    trace: tuple[Candidate, ...] = field(repr=False)
    explanation: Explanation | None = field(repr=False)
    record: Mapping[str, Any] = field(repr=False)
    manifest: Manifest = field(repr=False)

    def compose(self, modules: Modules) -> Adapter:
        """The composition of the modules that were learned with, at the weights found."""
        weights = np.array([self.weights[module.name] for module in modules])
        pairs = compose_pairs(list(modules), weights, self.composition)
        adapter = from_pairs(pairs, self.manifest, "adapted", self.record)
        return replace(adapter, evaluations=self.evaluations)

    @property
    def best_single(self) -> str | None:
        """The module that had the least loss alone; None where the search did not try them so."""
        alone = [candidate for candidate in self.trace if candidate.phase == "probing"]
        if not alone:
            return None
        return list(self.weights)[int(np.flatnonzero(min(alone, key=lambda c: c.loss).weights)[0])]


@dataclass(frozen=True)
class Adaptation(Learned):
    """What `adapt` found, and the modules that it is of."""

    modules: Modules = field(repr=False)

    @cached_property
    def adapter(self) -> Adapter:
        """The composition of the modules at the weights found, made when it is first asked for."""
        return self.compose(self.modules)


def inputs_record(
    model: Model, modules: Modules, examples: Sequence[Example], settings: Settings, variant: Variant, prompt: Prompt
) -> dict[str, Any]:
    """The sidecar's part that is known before the search: what went in."""
    return {
        "made_by": f"edge-lorahub {__version__}",
        "base_model": model.manifest.model.base_model,
        "bundle_sha256": sha256(model.folder / MANIFEST),
        "weights_sha256": model.manifest.sha256[WEIGHTS],
        "bundle": bundle_record(model.manifest),
        "precision": model.manifest.precision,
        "lora_type": variant.lora_type,
        "short": variant.short,
        PROMPT: prompt_record(prompt),
        "threads": model.threads,
        "settings": asdict(settings)
        | {
            "composition": settings.chosen_composition,
            "regularization": settings.strength,
            "surrogate": settings.assisted,
        },
        "modules": [{"name": m.name, "folder": str(m.folder), "sha256": m.sha256} for m in modules],
        "examples": examples_record(examples),
    }


def digest_of(inputs: Mapping[str, Any]) -> str:
    """Of all that a search depends on; threads and folders' names are not part of it."""
    kept = {key: value for key, value in inputs.items() if key != "threads"}
    kept["modules"] = [(module["name"], module["sha256"]) for module in inputs["modules"]]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def trace_record(trace: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Every candidate: its weights, loss (None: stopped early), what it was for, and the predicted loss if any."""
    rows = []
    for candidate in trace:
        loss = candidate.loss if np.isfinite(candidate.loss) else None
        row = {"weights": candidate.weights.tolist(), "loss": loss, "phase": candidate.phase}
        rows.append(row if candidate.predicted is None else row | {"predicted": candidate.predicted})
    return rows


def explanation_record(explanation: Explanation, names: Sequence[str]) -> dict[str, Any]:
    """The contributions of modules with a weight, and the guard against overfitting; numbers that are none as None."""

    def numbers(values: Float64) -> list[float | None]:
        return [value if np.isfinite(value) else None for value in values.tolist()]

    contributions = {
        name: dict(zip(("loss_without_it", "low", "high"), numbers(row), strict=True))
        for name, row in zip(names, explanation.contributions, strict=True)
        if row[0] != 0
    }
    return {
        "contributions": contributions,
        "left_out_losses": numbers(explanation.left_out),
        "plain_losses": numbers(explanation.plain),
    }
