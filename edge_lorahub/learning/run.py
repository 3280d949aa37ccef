"""One search for weights: the model, the modules, the examples and the strategy, joined."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..bundle.prompt import Prompt
from ..composition.ancestry import composed_among, warn_of_modules_examples
from ..composition.prompt_record import warn_of_modules_prompts
from ..composition.stack import make_stack
from ..errors import ExamplesError, SettingsError, warn
from ..examples.example import Example
from ..examples.example import check_examples as check_types
from ..lora.modules import Modules
from ..machine.blas import one_blas_thread
from ..messages import some_of
from ..runtime.lost_text import warn_of_unreadable, warn_of_unwritable
from ..runtime.scoring import Losses
from ..runtime.session import Model
from ..search.advice import advise
from ..search.assisted import SurrogateSearch
from ..search.budget import Budget, budget_for
from ..search.choose import make_strategy
from ..search.evaluations import Evaluations
from ..search.explain import Explanation
from ..search.journal import Journal, journaled
from ..search.loop import Found, search
from ..search.settings import CMA
from ..search.strategy import Candidate, Observation, Proposal
from ..search.surrogate import Labels
from .learned import Learned
from .loss_evaluator import LossEvaluator
from .objective import LossObjective, TextObjective, mean_loss, number, reference_loss, regularization
from .promise import change_of, promising
from .recording import search_inputs
from .reuse import origin_of, usable
from .seen import Seen
from .settings import Settings
from .text_evaluator import TextEvaluator
from .variant import scoring_variant
from .workbench import Workbench

Float64 = NDArray[np.float64]


class Learning:
    """One search: its parts, made of what goes in, and its run."""

    def __init__(
        self, model: Model, modules: Modules, examples: Sequence[Example], settings: Settings,
        objective: LossObjective | None, text_objective: TextObjective | None, start: Mapping[str, float] | None,
        evaluations: Evaluations | None, workers: int, prompt: Prompt,
    ) -> None:  # fmt: skip
        check_examples(examples)
        if objective is not None and text_objective is not None:
            raise SettingsError("an objective and a text_objective; give one of them")
        modules.check(model.manifest)
        warn_of_unwritable(model.tokens, examples, prompt)
        warn_of_modules_prompts(modules, prompt)
        warn_of_modules_examples(modules, examples, "to be learned from")
        self._began = time.perf_counter()
        self._earlier_seconds = 0.0  # of the processes that a journal is from
        self._model, self._modules, self._settings = model, modules, settings
        self._own = objective is not None or text_objective is not None
        self._center = None if start is None else _start(start, modules, settings)
        composition = settings.chosen_composition
        task = model.bundle.encode(examples, settings.max_input_tokens, settings.max_output_tokens, prompt)
        warn_of_unreadable(model.tokens, examples, task.sources)
        generates = text_objective is not None
        variant = scoring_variant(model.bundle, composition, task, settings.batch_tokens, generates=generates)
        inputs = search_inputs(model, modules, examples, settings, variant, prompt, self._center)
        origin = origin_of(inputs, model.manifest)
        earlier = evaluations if evaluations is not None and usable(evaluations, origin) else None
        if earlier is not None and not settings.assisted:
            warn("evaluations are not used: without the surrogate no candidate of the earlier search comes again")
            earlier = None
        self._inputs = replace(inputs, evaluations_sha256=None if earlier is None else earlier.digest)
        self._starts = self._center is not None and bool(self._center.any())
        self._budget = budget_for(settings, len(modules), start=self._starts)
        self._advised: set[str] = set()
        self._advise()
        self._workbench = Workbench(
            model,
            make_stack(list(modules), model.manifest, composition, variant.lora_type),
            examples,
            max_input_tokens=settings.max_input_tokens,
            max_output_tokens=settings.max_output_tokens,
            batch_tokens=settings.batch_tokens,
            earlier=earlier,
            center=self._center,
            workers=workers,
            prompt=prompt,
        )
        self._penalties = partial(regularization, strength=settings.strength, center=self._center)
        self._evaluator: LossEvaluator | TextEvaluator
        if text_objective is not None:
            self._evaluator = TextEvaluator(self._workbench, self._penalties, text_objective)
        else:
            self._evaluator = LossEvaluator(
                self._workbench,
                self._penalties,
                _reduce(objective, examples, settings),
                short=variant.short,
                # a user's own objective may fall when an example's loss rises
                racing=settings.racing and not self._own,
            )
        self._strategy = make_strategy(
            settings,
            len(modules),
            self._budget.candidates,
            labels=Labels.of(self._workbench.batches.tokens),
            own_objective=self._own,
            start=self._center,
            # without this object, which holds the model and would be a part of what it holds
            order=partial(_order, modules, examples, self._center),
        )
        self._seen = Seen(self._workbench, self._inputs, origin, model.manifest, self._penalties, own=self._own)

    def _advise(self) -> None:
        for message in advise(self._settings, len(self._modules), self._budget.candidates, start=self._starts):
            if message not in self._advised:
                self._advised.add(message)
                warn(message)

    @property
    def digest(self) -> str:
        """Of all that the search depends on."""
        return self._inputs.digest

    def run(
        self, journal: Journal | None, known_only: bool,
        on_candidate: Callable[[Candidate], None], on_budget: Callable[[Budget], None],
    ) -> Learned:  # fmt: skip
        evaluate: Callable[[Proposal], Iterable[Observation]] = self._evaluator
        if journal is not None:
            evaluate = journaled(evaluate, journal, known_only=known_only)
            self._earlier_seconds = journal.elapsed
            if not known_only:
                self._warn_of_other_threads(journal)
        seen = 0

        def remembered(proposal: Proposal) -> Iterator[Observation]:
            nonlocal seen
            for observation in evaluate(proposal):
                seen += 1
                self._seen.add(observation)
                yield observation

        def revise(seconds: float) -> int:
            if journal is not None:
                # what is read from the journal took its time before
                seconds += sum(journal.known_seconds[:seen]) / seen
            # a search that goes on keeps the budget that it had, whatever a candidate takes by now
            fixed = journal is not None and journal.has_budget
            self._budget = budget_for(
                self._settings, len(self._modules), None if fixed else seconds, start=self._starts
            )
            if journal is not None:
                self._budget = journal.fix_budget(self._budget)
            on_budget(self._budget)
            self._advise()
            return self._budget.candidates

        def check(weights: Float64) -> Observation:
            """Evaluates one more candidate (N,), after the search: no part of its trace, but of the journal."""
            (observation,) = evaluate(Proposal(weights[None], "report", logits=True))
            return observation

        on_budget(self._budget)
        # the surrogate's products are small, and BLAS's threads would take the processors from the sessions
        with one_blas_thread():
            found = search(
                remembered, self._strategy, self._budget.candidates, on_candidate=on_candidate, revise=revise
            )
            # an optimizer that had no candidate at w = 0, or chose one that it never tried: evaluated for the report
            for weights in (np.zeros(len(self._modules)), found.weights):
                if weights not in self._seen:
                    for observation in self._evaluator(Proposal(weights[None], "report")):
                        self._seen.add(observation)
            # what an objective of the user's own minimizes says nothing of the labels' cross-entropy
            self._seen.check(found)
            explanation = self._explain(found, None if known_only or self._own else check)
            return self._seen.learned(
                found,
                explanation,
                budget=self._budget.candidates,
                seconds=self._earlier_seconds + time.perf_counter() - self._began,
                spared=self._evaluator.spared,
                composed=composed_among(self._modules),
            )

    def _warn_of_other_threads(self, journal: Journal) -> None:
        before = journal.go_on_with(self._model.threads)
        if before not in (None, self._model.threads):
            warn(
                f"the search was begun with threads={before} and goes on with {self._model.threads}: losses may differ "
                "in their last digits, and it may end in other weights than one that was not ended"
            )

    def _explain(self, found: Found, check: Callable[[Float64], Observation] | None) -> Explanation | None:
        """What the surrogate knows of the weights that were found; check: None evaluates no more."""
        if not (isinstance(self._strategy, SurrogateSearch) and self._strategy.knows):
            return None
        return self._strategy.explain(found.weights, self._seen[found.weights].losses, check)


def _order(modules: Modules, examples: Sequence[Example], center: Float64 | None) -> list[int]:
    """The modules' places, the most promising first: that had much weight before, then by what they say, and do."""
    order = promising(modules, examples, [change_of(module) for module in modules])
    return order if center is None else sorted(order, key=lambda place: -abs(center[place]))


def _start(start: Mapping[str, float], modules: Modules, settings: Settings) -> Float64:
    """The weights to begin with in the modules' order; what has none begins at 0."""
    if not isinstance(start, Mapping):
        raise SettingsError(f"start must map modules' names to numbers, got {start!r:.80}")
    if settings.optimizer != CMA:
        raise SettingsError(f"weights to start from are for optimizer {CMA}, not {settings.optimizer}")
    strange = [str(name) for name in start if name not in modules.names]
    if strange and len(strange) == len(start):
        raise SettingsError(
            f"weights to start from are of other modules than these, so none would be used: {some_of(strange)}; take "
            "these modules, or begin without"
        )
    if strange:
        warn(f"weights to start from name modules that are not among these, and are left out: {some_of(strange)}")
    weights = np.array([_weight(name, start.get(name, 0.0)) for name in modules.names])
    if not (np.abs(weights) <= settings.bound).all():
        raise SettingsError(f"weights to start from must be within {settings.bound:g} of 0")
    return weights


def _weight(name: str, value: object) -> float:
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        with suppress(OverflowError):
            return float(value)
    raise SettingsError(f"start must map modules' names to numbers, got {value!r:.80} for {name}")


def _reduce(
    objective: LossObjective | None, examples: Sequence[Example], settings: Settings
) -> Callable[[Losses], float]:
    """From the losses by example to the candidate's loss."""
    if objective is not None:
        return lambda losses: number(objective(losses.means(), examples))
    return reference_loss if settings.preset.token_loss else mean_loss


def check_examples(examples: Sequence[Example]) -> None:
    """Raises ExamplesError for none at all, and SettingsError for what are no examples."""
    check_types(examples)
    if not examples:
        raise ExamplesError("no examples; adapting takes at least one, five are usual")
