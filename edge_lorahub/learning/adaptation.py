"""LoraHub learning: joins the model, the modules, the examples and the search."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..bundle.manifest import TOKENIZER, read_manifest
from ..errors import EdgeLorahubWarning
from ..examples.example import Example
from ..lora.modules import Modules
from ..runtime.scoring import Batches, absorbing_is_faster
from ..runtime.session import Model
from ..runtime.tokens import Tokens
from ..search.budget import Budget
from ..search.choose import at_once
from ..search.evaluations import Evaluations
from ..search.journal import Journal
from ..search.strategy import Candidate
from .learned import Adaptation, Learned
from .objective import LossObjective, TextObjective
from .run import Learning, check_examples
from .settings import Settings


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
    absorbed graphs where the outputs are short, and as many workers as the optimizer has use for (or so many). Not
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
    form = manifest.adapting_form(settings.chosen_composition)
    return Model(
        folder,
        threads=threads,
        workers=at_once(settings) if workers is None else workers,
        lora=form,
        absorbed=absorbing_is_faster(manifest, sizes),
        tokens=tokens,
    )


def adapt(
    model: Model,
    modules: Modules,
    examples: Sequence[Example],
    settings: Settings | None = None,
    *,
    objective: LossObjective | None = None,
    text_objective: TextObjective | None = None,
    start: Mapping[str, float] | None = None,
    evaluations: Evaluations | None = None,
    on_candidate: Callable[[Candidate], None] = lambda candidate: None,
    on_budget: Callable[[Budget], None] = lambda budget: None,
) -> Adaptation:
    """Finds the weights with which the composed modules do best on the examples.

    objective replaces the loss: it is called with the mean token cross-entropy by example, float64 (E,), and the
    examples. text_objective gets the predicted texts instead, each of at most as many tokens as the longest output, and
    the examples. start has weights by module, as an earlier adaptation found them: they are tried first, and the
    regularization is of how far the weights go from them (optimizer cma). evaluations are those of an earlier
    adaptation, or of `load_evaluations`: where bundle and modules are the same, the surrogate takes what they know of
    these examples as it is, and only the new examples are evaluated; where they cannot be used, a warning says why.
    on_candidate is called with each candidate, whose loss is inf if it was stopped; on_budget with the budget, before
    the search and again when the time of a candidate is known. The model is best loaded with `load_to_adapt`, with the
    same examples and settings. Warns (EdgeLorahubWarning) before a search that the budget is too small for. Raises
    ModuleMismatchError, ExamplesError, SettingsError, or ObjectiveError where no loss is a finite number.
    """
    found = learn(
        model,
        modules,
        examples,
        settings or Settings(),
        objective=objective,
        text_objective=text_objective,
        start=start,
        evaluations=evaluations,
        on_candidate=on_candidate,
        on_budget=on_budget,
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
    start: Mapping[str, float] | None = None,
    evaluations: Evaluations | None = None,
    on_candidate: Callable[[Candidate], None] = lambda candidate: None,
    on_budget: Callable[[Budget], None] = lambda budget: None,
    open_journal: Callable[[str], Journal] | None = None,
    known_only: bool = False,
) -> Learned:
    """As `adapt`, up to the weights.

    open_journal gets a digest of all that the search depends on, and gives its journal: what that knows is not
    evaluated again, and what it does not know is written to it. known_only: takes the best of what the journal knows.
    """
    learning = Learning(model, modules, examples, settings, objective, text_objective, start, evaluations)
    journal = None if open_journal is None else open_journal(learning.digest)
    return learning.run(journal, known_only, on_candidate, on_budget)
