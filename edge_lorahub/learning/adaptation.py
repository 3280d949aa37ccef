"""LoraHub learning: joins the model, the modules, the examples and the search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..bundle.prompt import Prompt
from ..errors import SettingsError
from ..examples.example import Example
from ..lora.modules import Modules
from ..messages import check_whole
from ..runtime.prompt_choice import PromptFormat, choose_prompt
from ..runtime.session import Model
from ..search.budget import Budget
from ..search.choose import at_once
from ..search.evaluations import Evaluations
from ..search.journal import Journal
from ..search.strategy import Candidate
from .learned import Adaptation, Learned
from .objective import LossObjective, TextObjective
from .run import Learning
from .settings import Settings


def adapt(
    bundle: str | Path | Model,
    modules: Modules | Sequence[str | Path],
    examples: Sequence[Example],
    settings: Settings | None = None,
    *,
    objective: LossObjective | None = None,
    text_objective: TextObjective | None = None,
    start: Mapping[str, float] | None = None,
    evaluations: Evaluations | None = None,
    threads: int | None = None,
    workers: int | None = None,
    on_candidate: Callable[[Candidate], None] = lambda candidate: None,
    on_budget: Callable[[Budget], None] = lambda budget: None,
    prompt: PromptFormat = None,
    system: str | None = None,
    **changes: Any,
) -> Adaptation:
    """Finds the weights with which the composed modules do best on the examples.

    bundle is a folder, or a model of `load` to use it again; modules are `Modules`, or PEFT folders and Hub ids.
    changes are single settings by name, as budget=40. objective replaces the loss: it is called with the mean token
    cross-entropy by example, float64 (E,), and the examples. text_objective gets the predicted texts instead, each
    of at most as many tokens as the longest output, and the examples. start has weights by module, as an earlier
    adaptation found them: they are tried first, and the regularization is of how far the weights go from them
    (optimizer cma). evaluations are those of an earlier adaptation, or of `load_evaluations`: where bundle and
    modules are the same, the surrogate takes what they know of these examples as it is, and only the new examples
    are evaluated; where they cannot be used, a warning says why. threads: as for `load`, where bundle is a folder.
    workers: how many candidates are evaluated at once, None: as many as the optimizer has use for; the result does
    not depend on it. on_candidate is called with each candidate, whose loss is inf if it was stopped; on_budget
    with the budget, before the search and again when the time of a candidate is known. prompt has the texts around
    each input and output: "chat" (the bundle's chat template, the default where it has one), "plain" (the texts alone),
    or a JSON file (docs/explanation/prompts.md); system is a text for its place for one. Both stay with the adapter.
    Warns (EdgeLorahubWarning) before a search that the budget is too small for. Raises ModuleMismatchError,
    ExamplesError, SettingsError, or ObjectiveError where no loss is a finite number, and what `load` and `Modules.load`
    raise.

        found = adapt("flan-t5-base.bundle", ["module-a", "module-b"], read_examples("task.jsonl"), budget=40)
        found.adapter.save("my-task")
    """
    _check_kinds(settings, evaluations)
    if isinstance(bundle, Model) and threads is not None:
        raise SettingsError("threads are the loaded model's; give them to load")
    model = bundle if isinstance(bundle, Model) else Model(bundle, threads=threads)
    if not isinstance(modules, Modules):
        modules = Modules.load(_paths(modules))
    found = learn(
        model,
        modules,
        examples,
        _changed(settings or Settings(), changes),
        objective=objective,
        text_objective=text_objective,
        start=start,
        evaluations=evaluations,
        workers=workers,
        on_candidate=on_candidate,
        on_budget=on_budget,
        prompt=choose_prompt(model.bundle, prompt, system),
    )
    return Adaptation(**vars(found), modules=modules)


def _check_kinds(settings: object, evaluations: object) -> None:
    if settings is not None and not isinstance(settings, Settings):
        raise SettingsError(f"settings must be Settings, got a {type(settings).__name__}; write Settings(budget=40)")
    if evaluations is not None and not isinstance(evaluations, Evaluations):
        raise SettingsError(
            f"evaluations must be those of `load_evaluations`, or a result's, got a {type(evaluations).__name__}"
        )


def _paths(modules: object) -> Sequence[str | Path]:
    """Modules as folders and Hub ids. Raises SettingsError for anything else; a single one is for `Modules.load`."""
    if isinstance(modules, (str, Path)):
        return modules  # type: ignore[return-value]  # refused there, with what to write
    if not isinstance(modules, Iterable):
        raise SettingsError(f"modules must be Modules, or a list of folders and Hub ids, got {modules!r:.80}")
    found = list(modules)
    for number, one in enumerate(found, 1):
        if not isinstance(one, (str, Path)):
            raise SettingsError(f"module {number} must be a folder or a Hub id, got a {type(one).__name__}")
    return found


def _changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    known = [field.name for field in fields(Settings)]
    if strange := sorted(changes.keys() - set(known)):
        raise SettingsError(f"no setting is called {strange[0]!r}; there are {', '.join(known)}")
    return replace(settings, **changes)


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
    workers: int | None = None,
    on_candidate: Callable[[Candidate], None] = lambda candidate: None,
    on_budget: Callable[[Budget], None] = lambda budget: None,
    open_journal: Callable[[str], Journal] | None = None,
    known_only: bool = False,
    prompt: Prompt | None = None,
) -> Learned:
    """As `adapt`, up to the weights.

    open_journal gets a digest of all that the search depends on, and gives its journal: what that knows is not
    evaluated again, and what it does not know is written to it. known_only: takes the best of what the journal knows. A
    prompt of None is the bundle's own.
    """
    if workers is not None:
        check_whole("workers", workers, least=1)
    workers = min(at_once(settings) if workers is None else workers, model.threads)
    if prompt is None:
        prompt = choose_prompt(model.bundle)
    learning = Learning(
        model, modules, examples, settings, objective, text_objective, start, evaluations, workers, prompt
    )
    journal = None if open_journal is None else open_journal(learning.digest)
    return learning.run(journal, known_only, on_candidate, on_budget)
