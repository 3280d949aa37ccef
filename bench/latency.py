"""How long a bundle takes: the first token, every token after it, and a candidate with its parts."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_lorahub import Example, Model, load
from edge_lorahub.bundle.manifest import MANIFEST, Slot, read_manifest
from edge_lorahub.composition.stack import COMPOSITIONS, Stack, lora_type_for, make_stack, plain_inputs
from edge_lorahub.errors import EdgeLorahubError, EdgeLorahubWarning
from edge_lorahub.files.outputs import sha256
from edge_lorahub.learning.loss_evaluator import LossEvaluator
from edge_lorahub.learning.objective import mean_loss, regularization
from edge_lorahub.learning.workbench import Workbench
from edge_lorahub.lora.pair import Lora
from edge_lorahub.runtime.architecture import Decoding
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.encoder_decoder.teacher_forcing import TeacherForcing
from edge_lorahub.runtime.opened import EncodedTask
from edge_lorahub.runtime.scoring import Batches, Scorer
from edge_lorahub.runtime.session import default_threads
from edge_lorahub.search.choose import make_strategy
from edge_lorahub.search.loop import search
from edge_lorahub.search.settings import SearchSettings
from edge_lorahub.search.strategy import Observation, Proposal

from .cells import Cells
from .report import Report, Row, environment, is_rows, median_ms, percentiles

Float64 = NDArray[np.float64]
_ANSWER_TOKENS = 3
_NEW_TOKENS = 16
_POPULATION = SearchSettings().population
# Of logits, relative to the largest. In int8 a last bit can move a value by a step: 0.05 was the most on random weights
# from flan-t5-small to flan-t5-base.
_TOLERANCES = {"fp32": 1e-4, "int8": 0.2}


class RandomLora:
    """A LoRA of seeded random numbers for a bundle's slots, in memory. B is small, as a trained one is."""

    def __init__(self, slots: Sequence[Slot], seed: int, rank: int) -> None:
        self.name = f"random-{seed}"
        self.shapes = {slot.name: (rank, slot.d_in, slot.d_out) for slot in slots}
        self._seed = seed

    def loras(self) -> list[tuple[str, Lora]]:
        rng = np.random.default_rng(self._seed)

        def normal(rows: int, columns: int, std: float) -> NDArray[np.float32]:
            numbers: NDArray[np.float32] = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(std)
            return numbers

        return [
            (name, Lora(normal(rank, d_in, d_in**-0.5), normal(d_out, rank, 0.02), 2.0))
            for name, (rank, d_in, d_out) in self.shapes.items()
        ]


# What tells a cell from the others: both tables' rows for a number of threads, which are measured in turn.
FIELDS = ("threads",)
_TITLES = ("generation", "a candidate")


@dataclass(frozen=True)
class Grid:
    """What is measured of a bundle. lengths are in tokens; modules and their rank are those of a candidate."""

    lengths: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    modules: int
    rank: int
    rounds: int


def cell_settings(bundle: Path, grid: Grid) -> dict[str, Any]:
    """All that a row depends on beside the threads."""
    read_manifest(bundle)
    return {"bundle": sha256(bundle / MANIFEST), **asdict(grid), **environment(default_threads())}


def is_cell(value: object) -> bool:
    """Whether a file's value may be the rows of both tables."""
    return isinstance(value, dict) and tuple(value) == _TITLES and all(map(is_rows, value.values()))


def latency(bundle: Path, threads: Sequence[int], grid: Grid, cells: Cells) -> Report:
    """The tables for all numbers of threads; what `cells` has is not measured again, and the facts name it."""
    earlier = [count for count in threads if (count,) in cells]
    found = [cells.get((count,), partial(_measure, bundle, count, grid)) for count in threads]
    facts = {
        "bundle": bundle.name,
        "precision": read_manifest(bundle).precision,
        "modules": f"{grid.modules} of rank {grid.rank}",
        "rounds": grid.rounds,
        **({"measured in an earlier run": f"{', '.join(map(str, earlier))} threads"} if earlier else {}),
        **environment(max(threads)),
    }
    tables = {title: [row for one in found for row in one[title]] for title in _TITLES}
    return Report(facts, tables, {"generation": "token p50, ms", "a candidate": "candidate p50, ms"})


def _measure(bundle: Path, threads: int, grid: Grid) -> dict[str, list[Row]]:
    """Every setting is measured once in each round, so that a slow spell of the machine falls on all."""
    manifest = read_manifest(bundle)
    model = load(bundle, threads=threads)
    slots = manifest.slots
    sources = [RandomLora(slots, seed, grid.rank) for seed in range(grid.modules)]
    stacks = {c: make_stack(sources, manifest, c, lora_type_for(manifest, c)) for c in COMPOSITIONS}
    # a model a type of LoRA inputs, which keeps its sessions while the others are measured in turn
    learners = {stack.lora_type: load(bundle, threads=threads) for stack in stacks.values()}
    settings = [(length, batch) for length in grid.lengths for batch in grid.batch_sizes]
    answers = [_Answers(model, length, batch) for length, batch in settings]
    learning = {
        (composition, *setting): _Candidates(learners[stack.lora_type], stack, grid.modules, *setting)
        for composition, stack in stacks.items()
        for setting in settings
    }
    for _ in range(grid.rounds):
        for answer in answers:
            answer.measure()
        for candidate in learning.values():
            candidate.measure()
    generation: list[Row] = [
        {"threads": threads, "length": length, "batch": batch}
        | percentiles(found.first, "first token")
        | percentiles(found.token, "token")
        | {"tokens/s": round(batch / float(np.median(found.token)), 1)}
        for (length, batch), found in zip(settings, answers, strict=True)
    ]
    candidates: list[Row] = [
        {"threads": threads, "composition": composition, "length": length, "examples": batch}
        | percentiles(timed.whole, "candidate")
        | {f"{part}, ms": median_ms(seconds) for part, seconds in timed.parts.items()}
        for (composition, length, batch), timed in learning.items()
    ]
    return dict(zip(_TITLES, (generation, candidates), strict=True))


class _Answers:
    """Greedy decoding of random texts, to a fixed number of tokens."""

    def __init__(self, model: Model, length: int, batch: int) -> None:
        self._runner = Runner(model, "generate", plain_inputs((), "none"))
        vocabulary = model.manifest.model.vocab_size
        self._ids = np.random.default_rng(0).integers(3, vocabulary, (batch, length))
        self.first: list[float] = []
        self.token: list[float] = []
        self._check()

    def _check(self) -> None:
        """Token by token the logits are those of the same tokens all at once."""
        found = np.stack([logits.copy() for _, logits in self._decode()], axis=1)
        model = self._runner.model
        task = EncodedTask(list(self._ids), list(found.argmax(axis=2)))
        (batch,) = model.architecture.batches(model.tokens, task, range(len(found)), found.size)
        (scoring,) = model.architecture.scorings(Runner(model, "score", plain_inputs((), "none")), [batch])
        at_once = np.stack(scoring.run())
        difference = float(np.abs(at_once - found[batch.members]).max() / np.abs(found).max())
        if not difference <= _TOLERANCES[model.manifest.precision]:  # nor if it is not a number
            raise EdgeLorahubError(
                f"{model.folder}: logits of {_NEW_TOKENS} tokens one by one and at once differ by {difference:.1e} of "
                "the largest; export the bundle again"
            )

    def measure(self) -> None:
        first, *rest = (seconds for seconds, _ in self._decode())
        self.first.append(first)
        self.token.extend(rest)

    def _decode(self) -> Iterator[tuple[float, NDArray[np.float32]]]:
        """The seconds and the logits (B, V) of each token."""
        start = time.perf_counter()
        decoding = self._decoding()
        logits = decoding.start()
        yield time.perf_counter() - start, logits
        for _ in range(_NEW_TOKENS):
            start = time.perf_counter()
            logits = decoding.step(logits.argmax(axis=1))
            yield time.perf_counter() - start, logits

    def _decoding(self) -> Decoding:
        model = self._runner.model
        cache = model.architecture.cache(model.manifest)
        return model.architecture.decoding(self._runner, list(self._ids), cache)


class _Candidates:
    """Generations of candidates on random texts, as `adapt` evaluates them, and the parts one at a time."""

    def __init__(self, model: Model, stack: Stack, modules: int, length: int, batch: int) -> None:
        rng = np.random.default_rng(0)
        self._model, self._stack = model, stack
        tokens = model.tokens

        def text(count: int) -> str:
            # twice the tokens, and then cut: some have no text of their own
            return tokens.decode([rng.integers(3, model.manifest.model.vocab_size, 2 * count)])[0]

        examples = [Example(text(length), text(_ANSWER_TOKENS)) for _ in range(batch)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EdgeLorahubWarning)  # that they are cut
            self._batches = Batches(model.bundle, model.bundle.encode(examples, length, _ANSWER_TOKENS))
            self._workers = min(_POPULATION, model.threads)
            self._workbench = Workbench(
                model, stack, examples, max_input_tokens=length, max_output_tokens=_ANSWER_TOKENS,
                workers=self._workers,
            )  # fmt: skip
        penalties = partial(regularization, strength=0.0)
        self._evaluate = LossEvaluator(self._workbench, penalties, mean_loss, short=self._batches.short)
        self._runner = Runner(model, "score", stack.inputs(), short=self._batches.short, at_once=self._workers)
        self._scorer = Scorer(self._runner, self._batches)
        self._dimension = modules
        self._population = rng.uniform(-0.1, 0.1, (_POPULATION, self._dimension))
        self.whole: list[float] = []
        # the parts' seconds by name
        self.parts: dict[str, list[float]] = {name: [] for name in ("compose", *self._runs(), "search")}
        self._check()

    def _check(self) -> None:
        """w = 0 is the plain model."""
        inputs = plain_inputs(self._stack.slots, self._stack.lora_type)
        runner = Runner(self._model, "score", inputs, short=self._batches.short, at_once=self._workers)
        plain = Scorer(runner, self._batches).losses()
        zero = self._evaluate.losses(np.zeros((1, self._dimension)))[0]
        if not np.isclose(zero, mean_loss(plain), rtol=1e-5):
            raise EdgeLorahubError(f"{self._model.folder}: w = 0 is not the plain model; export the bundle again")

    def measure(self) -> None:
        count = len(self._population)
        start = time.perf_counter()
        self._evaluate.losses(self._population)
        self.whole.append((time.perf_counter() - start) / count)
        self.parts["compose"].append(self._timed(lambda: self._workbench.prepare.compose(self._population)) / count)
        self._runner.lora.inputs.compose(self._population[0])
        for name, runs in self._runs().items():
            self.parts[name].append(sum(map(self._timed, runs)))
        self.parts["search"].append(_search_seconds(self._dimension))

    def _runs(self) -> dict[str, list[Callable[[], object]]]:
        """A candidate's runs of each graph, one for each batch, by what the graph does."""
        scorings = self._scorer.scorings
        pairs = [one for one in scorings if isinstance(one, TeacherForcing)]
        if len(pairs) < len(scorings):
            return {"score": [one.run for one in scorings]}
        return {"encode": [one.encode for one in pairs], "decode": [one.decode for one in pairs]}

    @staticmethod
    def _timed(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start


def _search_seconds(dimension: int) -> float:
    """What CMA-ES itself takes for a candidate, from generation to generation."""
    gaps: list[float] = []
    left = 0.0

    def evaluate(proposal: Proposal) -> list[Observation]:
        nonlocal left
        if left and len(proposal.weights) == _POPULATION:
            gaps.append(time.perf_counter() - left)
        losses = np.square(proposal.weights).sum(axis=1)
        left = time.perf_counter()
        return [Observation(w, float(loss)) for w, loss in zip(proposal.weights, losses, strict=True)]

    budget = 1 + 4 * _POPULATION
    search(evaluate, make_strategy(SearchSettings(surrogate=False), dimension, budget), budget)
    # the first one is the optimizer's making
    return float(np.median(gaps[1:])) / _POPULATION if len(gaps) > 1 else 0.0
