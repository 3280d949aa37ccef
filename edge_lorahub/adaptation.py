"""LoraHub learning: joins the model, the modules, the examples and the search."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .adapter import Adapter, from_pairs
from .contract import MANIFEST, TOKENIZER, Manifest, read_manifest
from .errors import EdgeLorahubWarning, ExamplesError, SettingsError
from .examples import Example, fingerprint
from .files import sha256
from .modules import Modules
from .objective import Evaluator, LossObjective, TextObjective, mean_loss, regularisation
from .pairs import compose_pairs
from .scoring import Batches, Losses, absorbing_is_faster
from .search import REFERENCE, Candidate, SearchSettings, search
from .session import Model
from .stack import COMPOSITIONS, make_stack
from .tokens import BATCH_TOKENS, Tokens


@dataclass(frozen=True)
class Settings(SearchSettings):
    """Everything that an adaptation depends on besides its inputs; checks itself.

    composition is "exact" (delta = sum w_i B_i A_i) or "paper" (delta = (sum w_i B_i)(sum w_i A_i));
    None: exact, and paper with the optimizer "reference". regularization times mean |w| is added to every
    loss. Texts of more tokens than the limits are cut. racing: CMA-ES stops a candidate that cannot be among the
    best of its generation any more; the result is the same without it. batch_tokens: the most tokens, with their
    padding, that are evaluated at once; less takes less memory and more time.
    """

    composition: str | None = None
    regularization: float = 0.05
    max_input_tokens: int = 2048
    max_output_tokens: int = 2048
    racing: bool = True
    batch_tokens: int = BATCH_TOKENS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.composition is None:
            object.__setattr__(self, "composition", "paper" if self.optimizer == REFERENCE else "exact")
        if self.composition not in COMPOSITIONS:
            raise SettingsError(f"composition {self.composition!r} is unknown; choose {' or '.join(COMPOSITIONS)}")
        if not 0 <= self.regularization < np.inf:
            raise SettingsError(f"regularization must be at least 0, got {self.regularization}")
        for name, least in (("max_input_tokens", 2), ("max_output_tokens", 2), ("batch_tokens", 1)):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Learned:
    """What a search found. weights maps module names to w; the losses are without regularisation.

    record is the adapter's sidecar. No adapter yet: its matrices can be larger than the model's, which may go first.
    """

    weights: dict[str, float]
    loss_before: float
    loss_after: float
    trace: tuple[Candidate, ...]
    optimizer: str
    seconds: float
    record: Mapping[str, Any]
    composition: str
    manifest: Manifest

    def compose(self, modules: Modules) -> Adapter:
        """The composition of the modules that were learned with, at the weights found."""
        weights = np.array([self.weights[module.name] for module in modules])
        pairs = compose_pairs(list(modules), weights, self.composition)
        return from_pairs(pairs, self.manifest, "adapted", self.record)


@dataclass(frozen=True)
class Adaptation(Learned):
    """What `adapt` found, with the adapter made of it."""

    adapter: Adapter


def load_to_adapt(
    bundle: str | Path,
    examples: Sequence[Example],
    settings: Settings | None = None,
    *,
    threads: int | None = None,
    workers: int | None = None,
) -> Model:
    """The bundle, loaded for `adapt` on these examples with these settings, as the command line loads it.

    Chooses what `load` leaves to its caller: LoRA in int8 where the bundle is in int8 and composition exact,
    absorbed graphs where the outputs are short, and as many workers as the optimiser has use for (or so many). Not
    for `generate`, nor for a text_objective, which generates: they take a model of `load`. Raises MissingPathError,
    BundleError, ExamplesError or SettingsError.
    """
    folder = Path(bundle)
    settings = settings or Settings()
    check_examples(examples)
    manifest = read_manifest(folder)
    tokens = Tokens(folder / TOKENIZER, manifest.model)
    limits = settings.max_input_tokens, settings.max_output_tokens, settings.batch_tokens
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)  # of texts that are cut; they come again
        sizes = [batch.size for batch in Batches(tokens, examples, *limits).batches]
    assert settings.composition is not None
    form = manifest.adapting_form(settings.composition)
    return Model(
        folder,
        threads=threads,
        workers=settings.at_once if workers is None else workers,
        lora=form,
        absorbed=absorbing_is_faster(manifest, sizes),
        tokens=tokens,
    )


def check_examples(examples: Sequence[Example]) -> None:
    if not examples:
        raise ExamplesError("no examples; adapting takes at least one, five are usual")


def adapt(
    model: Model,
    modules: Modules,
    examples: Sequence[Example],
    settings: Settings | None = None,
    *,
    objective: LossObjective | None = None,
    text_objective: TextObjective | None = None,
    on_candidate: Callable[[float], None] = lambda loss: None,
) -> Adaptation:
    """Finds the weights with which the composed modules do best on the examples.

    objective replaces the loss: it gets the mean token cross-entropy by example, float64 (E,), and the
    examples. text_objective gets the predicted texts instead, each of at most as many tokens as the longest
    output. on_candidate is called with each candidate's loss, inf for one that was stopped. The model is best
    loaded with `load_to_adapt`, with the same examples and settings. Raises ModuleMismatchError, ExamplesError or
    SettingsError.
    """
    found = learn(
        model,
        modules,
        examples,
        settings or Settings(),
        objective=objective,
        text_objective=text_objective,
        on_candidate=on_candidate,
    )
    return Adaptation(**vars(found), adapter=found.compose(modules))


def learn(
    model: Model,
    modules: Modules,
    examples: Sequence[Example],
    settings: Settings,
    *,
    objective: LossObjective | None = None,
    text_objective: TextObjective | None = None,
    on_candidate: Callable[[float], None] = lambda loss: None,
) -> Learned:
    """As `adapt`, up to the weights."""
    check_examples(examples)
    if objective is not None and text_objective is not None:
        raise SettingsError("an objective and a text_objective; give one of them")
    if text_objective is not None and model.absorbed:
        raise SettingsError("a text_objective generates; load the model with load, not with load_to_adapt")
    modules.check(model.manifest)
    start = time.perf_counter()
    assert settings.composition is not None
    stack = make_stack(list(modules), model.manifest, settings.composition, model.lora)
    evaluator = Evaluator(
        model,
        stack,
        examples,
        strength=settings.regularization,
        max_input_tokens=settings.max_input_tokens,
        max_output_tokens=settings.max_output_tokens,
        batch_tokens=settings.batch_tokens,
        reduce=None if text_objective else _reduce(objective, examples, settings),
        on_texts=text_objective,
        on_loss=on_candidate,
    )
    # a user's own objective may fall when an example's loss rises
    own = objective is not None or text_objective is not None
    found = search(evaluator, len(modules), settings, None if own or not settings.racing else evaluator.race)
    plain = next((c.loss for c in found.trace if not c.weights.any()), None)
    if plain is None:
        # the optimiser had no candidate at w = 0: evaluated for the report alone
        plain = float(evaluator(np.zeros((1, len(modules))))[0])
    chosen = next((c.loss for c in found.trace if np.array_equal(c.weights, found.weights)), None)
    if chosen is None:
        chosen = float(evaluator(found.weights[None])[0])
    after = chosen - float(regularisation(found.weights[None], settings.regularization)[0])
    weights = dict(zip(modules.names, found.weights.tolist(), strict=True))
    seconds = time.perf_counter() - start
    record = _record(model, modules, examples, settings)
    record |= {
        "optimizer": found.optimizer,
        "weights": weights,
        "loss": {"before": plain, "after": after, "after_with_regularization": chosen},
        "seconds": round(seconds, 3),
        # the examples that racing did not score, of all that would have been
        "spared": round(evaluator.spared, 4),
        # no loss: stopped early
        "trace": [
            {"weights": c.weights.tolist(), "loss": c.loss if np.isfinite(c.loss) else None} for c in found.trace
        ],
    }
    return Learned(
        weights=weights,
        loss_before=plain,
        loss_after=after,
        trace=found.trace,
        optimizer=found.optimizer,
        seconds=seconds,
        record=record,
        composition=settings.composition,
        manifest=model.manifest,
    )


def _reduce(
    objective: LossObjective | None, examples: Sequence[Example], settings: Settings
) -> Callable[[Losses], float]:
    """From the losses by example to the candidate's loss."""
    if objective is not None:
        return lambda losses: objective(losses.means(), examples)
    if settings.optimizer == REFERENCE:
        return reference_loss
    return lambda losses: mean_loss(losses.means(), examples)


def reference_loss(losses: Losses) -> float:
    """The released code's loss: the mean over all tokens of one batch, divided by the number of examples.

    Its `default_get_loss` sums the batches' means and divides by the examples, not the batches.
    """
    return float(losses.sums.sum() / losses.tokens.sum() / len(losses.sums))


def _record(model: Model, modules: Modules, examples: Sequence[Example], settings: Settings) -> dict[str, Any]:
    """The sidecar's part that is known before the search: what went in."""
    return {
        "made_by": f"edge-lorahub {__version__}",
        "base_model": model.manifest.model.base_model,
        "bundle_sha256": sha256(model.folder / MANIFEST),
        "precision": model.manifest.precision,
        "lora": model.lora,
        "absorbed": model.absorbed,
        "threads": model.threads,
        "settings": asdict(settings),
        "modules": [{"name": m.name, "folder": str(m.folder), "sha256": m.sha256} for m in modules],
        "examples": {"count": len(examples), "sha256": fingerprint(examples)},
    }
