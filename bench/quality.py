"""How good adapting is, measured on the embedded hub: exact match on held-out inputs of unseen tasks.

Every figure is of the runtime itself: `adapt` on five examples, greedy answers on 200 other inputs.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lorahub import Model, Modules, Settings, adapt, load
from edge_lorahub.errors import SettingsError
from edge_lorahub.examples import Example
from edge_lorahub.generation import generate_with
from edge_lorahub.learning import reference_loss
from edge_lorahub.lora import Lora
from edge_lorahub.objective import Evaluator
from edge_lorahub.peft_files import write_peft
from edge_lorahub.runs import Runner
from edge_lorahub.scoring import Batches, Scorer
from edge_lorahub.search.choose import make_strategy
from edge_lorahub.search.loop import search
from edge_lorahub.search.settings import REFERENCE
from edge_lorahub.search.strategy import Candidate, Observation, Proposal
from edge_lorahub.stack import make_stack
from edge_lorahub.tinyhub import DEV_TASKS, TEST_TASKS, UnseenTask, examples, relevant_modules
from edge_lorahub.tinyhub.hub import module_folders
from edge_lorahub.workers import uninterrupted

Float64 = NDArray[np.float64]
# (part, kind of modules) -> method -> task -> exact match in percent
Results = dict[tuple[str, str], dict[str, dict[str, float]]]
PARTS = {"dev": DEV_TASKS, "test": TEST_TASKS}
SHOTS = 5
HELD_OUT = 200
BUDGETS = (40, 100, 200)
# of the default search, whose first candidates teach more
SURROGATE_BUDGETS = (30, 40, 60, 100, 200)
MOST_NEW_TOKENS = 16  # the longest answer has 14


@dataclass(frozen=True)
class Problem:
    """One unseen task with one draw of examples, for one kind of modules."""

    bundle: Path
    kind: str
    task: UnseenTask
    seed: int


def solve(problem: Problem, only: str = "") -> dict[str, float]:
    """Exact match, in percent, of every method on one problem whose name has `only` in it."""
    return {name: method() for name, method in _Rows(problem).methods.items() if only in name}


def solve_all(
    bundle: Path, parts: Sequence[str], kinds: Sequence[str], seeds: Sequence[int], processes: int,
    on_problem: Callable[[Problem], None] = lambda problem: None, only: str = "",
) -> Results:  # fmt: skip
    """Every method (or those with `only` in their name) on every task of the parts, as means over the seeds.

    Problems go to processes of their own.
    """
    keys = [(part, kind) for part in parts for kind in kinds]
    problems = [(key, Problem(bundle, key[1], task, seed)) for key in keys for task in PARTS[key[0]] for seed in seeds]
    found: Results = {key: {} for key in keys}
    with uninterrupted():
        pool = multiprocessing.get_context("spawn").Pool(processes, _silence)
    with pool:
        results = pool.imap(partial(solve, only=only), [problem for _, problem in problems])
        for (key, problem), rows in zip(problems, results, strict=True):
            on_problem(problem)
            if not rows:
                raise SettingsError(f"no method has {only!r} in its name")
            for method, accuracy in rows.items():
                tasks = found[key].setdefault(method, {})
                tasks[problem.task.name] = tasks.get(problem.task.name, 0.0) + accuracy / len(seeds)
    return found


def tables(found: Results) -> str:
    """The means over tasks, and every task's figure, as Markdown."""
    keys = list(found)
    methods = list(found[keys[0]])
    lines = [
        "| exact match, % | " + " | ".join(f"{part}, {kind}" for part, kind in keys) + " |",
        "|---|" + "---:|" * len(keys),
    ]
    for method in methods:
        means = [sum(found[key][method].values()) / len(found[key][method]) for key in keys]
        lines.append(f"| {method} | " + " | ".join(f"{mean:.1f}" for mean in means) + " |")
    for part, kind in keys:
        rows = found[part, kind]
        shown = [m for m in methods if m in ("best single module", "relevant removed") or m.startswith("exact")]
        lines += ["", f"{part} tasks, {kind} modules", "", "| task | " + " | ".join(shown) + " |"]
        lines.append("|---|" + "---:|" * len(shown))
        for task in rows[methods[0]]:
            lines.append(f"| {task} | " + " | ".join(f"{rows[method][task]:.1f}" for method in shown) + " |")
    return "\n".join(lines) + "\n"


class _Rows:
    """Every method's exact match on one problem, by name; each is computed when it is asked for."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._model, self._modules = _load(problem.bundle), _modules(problem.kind)
        pairs = [Example(*pair) for pair in examples(problem.task.task, SHOTS + HELD_OUT, problem.seed)]
        self._shots, self._held_out = pairs[:SHOTS], pairs[SHOTS:]
        self._trial = Trial(self._model, self._modules, self._held_out)
        count = len(self._modules)
        self.methods: dict[str, Callable[[], float]] = {
            "zero-shot": lambda: self._trial.accuracy(np.zeros(count), "exact"),
            "uniform": lambda: self._trial.accuracy(np.full(count, 1 / count), "exact"),
            "best single module": lambda: self._trial.accuracy(
                best_single(self._model, self._modules, self._shots), "exact"
            ),
            "random modules": self._random_modules,
            "relevant removed": self._relevant_removed,
            "exact, reference, 100, no negative w": self._no_negative,
        }
        for composition in ("paper", "exact"):
            for budget in BUDGETS:
                settings = Settings(optimizer=REFERENCE, composition=composition, budget=budget, seed=problem.seed)
                self.methods[f"{composition}, reference, {budget}"] = partial(self._learned, settings)
            for budget in BUDGETS:
                self.methods[f"{composition}, CMA-ES, {budget}"] = partial(self._front, composition, budget)
        for budget in SURROGATE_BUDGETS:
            settings = Settings(budget=budget, seed=problem.seed)
            self.methods[f"exact, surrogate, {budget}"] = partial(self._learned, settings)

    def _learned(self, settings: Settings) -> float:
        weights = as_weights(adapt(self._model, self._modules, self._shots, settings).weights)
        return self._trial.accuracy(weights, settings.chosen_composition)

    def _front(self, composition: str, budget: int) -> float:
        """A shorter search by CMA-ES alone is the front of a longer one."""
        if composition not in self._traces:
            settings = Settings(composition=composition, surrogate=False, budget=max(BUDGETS), seed=self._problem.seed)
            self._traces[composition] = adapt(self._model, self._modules, self._shots, settings).trace
        best = min(self._traces[composition][:budget], key=lambda candidate: candidate.loss)
        return self._trial.accuracy(best.weights, composition)

    @cached_property
    def _traces(self) -> dict[str, tuple[Candidate, ...]]:
        return {}

    def _random_modules(self) -> float:
        with tempfile.TemporaryDirectory() as folder:
            noise = random_modules(self._modules, Path(folder), self._problem.seed)
            weights = as_weights(adapt(self._model, noise, self._shots, self._reference()).weights)
            return Trial(self._model, noise, self._held_out).accuracy(weights, "exact")

    def _relevant_removed(self) -> float:
        relevant = relevant_modules(self._problem.task, self._problem.kind)
        rest = Modules([module for module in self._modules if module.name not in relevant])
        weights = as_weights(adapt(self._model, rest, self._shots, self._reference()).weights)
        return Trial(self._model, rest, self._held_out).accuracy(weights, "exact")

    def _no_negative(self) -> float:
        settings = Settings(optimizer=REFERENCE, composition="exact", budget=100, seed=self._problem.seed)
        return self._trial.accuracy(best_not_negative(self._model, self._modules, self._shots, settings), "exact")

    def _reference(self) -> Settings:
        """As "exact, reference, 40"."""
        return Settings(optimizer=REFERENCE, composition="exact", seed=self._problem.seed)


class Trial:
    """Exact match of weight vectors on held-out inputs."""

    def __init__(self, model: Model, modules: Modules, held_out: Sequence[Example]) -> None:
        self._held_out = held_out
        self._runners = {
            composition: Runner(model, make_stack(list(modules), model.manifest, composition).inputs())
            for composition in ("exact", "paper")
        }

    def accuracy(self, weights: Float64, composition: str) -> float:
        runner = self._runners[composition]
        runner.lora.inputs.compose(weights)
        texts = [example.input for example in self._held_out]
        answers = generate_with(runner, texts, max_new_tokens=MOST_NEW_TOKENS, batch_size=len(texts))
        # to the letter, as `evaluate` counts an exact match: capitals are part of the task
        right = [answer == example.output for answer, example in zip(answers, self._held_out, strict=True)]
        return 100 * sum(right) / len(right)


def best_single(model: Model, modules: Modules, shots: Sequence[Example]) -> Float64:
    """The one-hot weights of the module with the least loss on the examples."""
    runner = Runner(model, make_stack(list(modules), model.manifest, "exact").inputs())
    scorer = Scorer(runner, Batches(model.tokens, shots, 2048, 256))
    losses = []
    for one_hot in np.eye(len(modules)):
        runner.lora.inputs.compose(one_hot)
        losses.append(scorer.losses().means().mean())
    weights: Float64 = np.eye(len(modules))[int(np.argmin(losses))]
    return weights


def best_not_negative(model: Model, modules: Modules, shots: Sequence[Example], settings: Settings) -> Float64:
    """What the reference's search finds among weights of at least 0: shows which tasks need a negative one.

    Its candidates' signs are dropped, so that its start at w = 0 can move along every axis in either direction.
    """
    evaluate = Evaluator(
        model, make_stack(list(modules), model.manifest, "exact"), shots,
        strength=settings.strength,
        max_input_tokens=settings.max_input_tokens,
        max_output_tokens=settings.max_output_tokens,
        reduce=reference_loss,
    )  # fmt: skip

    def without_signs(proposal: Proposal) -> list[Observation]:
        seen = evaluate(replace(proposal, weights=np.abs(proposal.weights)))
        return [replace(o, weights=w) for o, w in zip(seen, proposal.weights, strict=True)]

    assert settings.budget is not None
    strategy = make_strategy(settings, len(modules), settings.budget)
    weights: Float64 = np.abs(search(without_signs, strategy, settings.budget).weights)
    return weights


def random_modules(modules: Modules, folder: Path, seed: int) -> Modules:
    """Modules of the same shapes and norms with random contents, written to a folder."""
    for module in modules:
        rng = np.random.default_rng([seed, zlib.crc32(module.name.encode())])
        pairs = {}
        for layer, lora in module.loras():
            a, b = (rng.standard_normal(matrix.shape, dtype=np.float32) for matrix in (lora.a, lora.b))
            a *= np.linalg.norm(lora.a) / np.linalg.norm(a)
            b *= np.linalg.norm(lora.b) / np.linalg.norm(b)
            pairs[layer] = Lora(a, b, lora.scale)
        (folder / module.name).mkdir()
        write_peft(folder / module.name, module.config.base_model, pairs)
    return Modules.load([folder / module.name for module in modules])


def as_weights(named: dict[str, float]) -> Float64:
    """An adaptation's weights by name -> (N,), in the modules' order."""
    return np.array(list(named.values()))


def _silence() -> None:
    """SciPy warns of every Cobyla that is asked for less than it wants, and a process's warnings interleave."""
    warnings.simplefilter("ignore")


@cache
def _load(bundle: Path) -> Model:
    return load(bundle, threads=1)


@cache
def _modules(kind: str) -> Modules:
    return Modules.load(module_folders(kind))
