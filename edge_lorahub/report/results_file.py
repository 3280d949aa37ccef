"""A comparison's results.json as dataclasses: the format of docs/reference/comparison.md, checked as it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import JournalError
from ..files.outputs import read_json
from ..files.typed_json import UnknownFieldError, read_as

RESULTS = "results.json"
_NAME, _FORMAT = "edge-lorahub comparison", 1
# It has a number for every input of every cell: 1,000 tasks of 200 inputs, 5 seeds and 6 methods are 60 MB.
_LARGEST = 256 << 20
# A longer text is cut before it is looked at: `read_as` takes none, and a page shows less.
_LONGEST = 10_000
# Means of shares may be above 100 by their last digit.
_ROUNDING = 1e-9
SAYS = ("better", "worse", "not distinguishable")
_REMEDY = "run the same `edge-lorahub compare` again, which writes it anew from its cells"


@dataclass(frozen=True)
class ComparedBundle:
    path: str
    sha256: str
    base_model: str
    precision: str
    random_weights: bool


@dataclass(frozen=True)
class MetricName:
    name: str
    sha256: str | None


@dataclass(frozen=True)
class ComparedModule:
    name: str
    sha256: str


@dataclass(frozen=True)
class ComparedMethod:
    id: str
    label: str
    kind: str
    optimizer: str | None
    composition: str | None
    budget: int | None
    surrogate: bool | None = None


@dataclass(frozen=True)
class CellSeconds:
    learn: float
    answer: float


@dataclass(frozen=True)
class CellMachine:
    processor: str
    system: str
    threads: int


@dataclass(frozen=True)
class ComparedCell:
    seed: int
    cell: str
    score_percent: float
    inputs: int
    scores: tuple[float, ...]
    weights: Mapping[str, float] | None
    trace: tuple[float, ...] | None
    best_single: str | None
    input_tokens: int
    shortened: int
    seconds: CellSeconds
    machine: CellMachine

    def __post_init__(self) -> None:
        _check_percent(score_percent=self.score_percent)
        if len(self.scores) != self.inputs:
            raise ValueError(f"scores has {len(self.scores)} numbers for {self.inputs} inputs")


@dataclass(frozen=True)
class TaskResult:
    method: str
    mean_percent: float
    best_percent: float
    sd_percent: float | None
    cells: tuple[ComparedCell, ...]

    def __post_init__(self) -> None:
        _check_percent(mean_percent=self.mean_percent, best_percent=self.best_percent)


@dataclass(frozen=True)
class ComparedTask:
    name: str
    path: str
    inputs: int
    results: tuple[TaskResult, ...]


@dataclass(frozen=True)
class MethodSummary:
    method: str
    mean_percent: float
    best_percent: float
    sd_percent: float | None
    input_tokens_per_answer: float
    learn_seconds: float
    answer_seconds: float

    def __post_init__(self) -> None:
        _check_percent(mean_percent=self.mean_percent, best_percent=self.best_percent)


@dataclass(frozen=True)
class TaskDifference:
    task: str
    points: float
    low: float
    high: float
    says: str

    def __post_init__(self) -> None:
        _check_among("says", [self.says], SAYS)


@dataclass(frozen=True)
class Difference:
    method: str
    against: str
    points: float
    low: float
    high: float
    says: str
    tasks: tuple[TaskDifference, ...]

    def __post_init__(self) -> None:
        _check_among("says", [self.says], SAYS)


@dataclass(frozen=True)
class Results:
    """All of results.json but `name`, `format` and `settings`, whose values may be of any kind."""

    versions: Mapping[str, str]
    bundle: ComparedBundle
    metric: MetricName
    seeds: tuple[int, ...]
    modules: tuple[ComparedModule, ...]
    module_draws: Mapping[str, tuple[str, ...]]
    methods: tuple[ComparedMethod, ...]
    tasks: tuple[ComparedTask, ...]
    summary: tuple[MethodSummary, ...]
    differences: tuple[Difference, ...]
    verdicts: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def __post_init__(self) -> None:
        methods, tasks = [one.id for one in self.methods], [one.name for one in self.tasks]
        _check_distinct("methods", methods)
        _check_distinct("tasks", tasks)
        _check_distinct("seeds", [str(seed) for seed in self.seeds])
        _check_distinct("summary.method", [one.method for one in self.summary])
        _check_distinct("differences", [f"{one.method} against {one.against}" for one in self.differences])
        _check_among("summary.method", [one.method for one in self.summary], methods)
        _check_among("module_draws", self.module_draws, [str(seed) for seed in self.seeds])
        for place, task in enumerate(self.tasks):
            where = f"tasks[{place}].results"
            _check_distinct(f"{where}.method", [one.method for one in task.results])
            _check_among(f"{where}.method", [one.method for one in task.results], methods)
            for result in task.results:
                if tuple(cell.seed for cell in result.cells) != self.seeds:
                    raise ValueError(f"{where} of {result.method!r:.80} has other seeds than seeds has")
        for place, one in enumerate(self.differences):
            where = f"differences[{place}]"
            _check_among(where, (one.method, one.against), methods)
            _check_distinct(f"{where}.tasks", [task.task for task in one.tasks])
            _check_among(f"{where}.tasks", [task.task for task in one.tasks], tasks)


def read_results(folder: Path) -> tuple[Results, Mapping[str, Any]]:
    """The results in a comparison's folder, and its settings. Raises JournalError, which names file and field."""
    path = folder / RESULTS
    fields = read_json(path, lambda message: JournalError(f"{message}; {_REMEDY}"), largest=_LARGEST)
    name, version = fields.pop("name", None), fields.pop("format", None)
    if name != _NAME:
        raise JournalError(
            f"{path}: not the results of a comparison: name is {name!r:.60}, where {_NAME!r} was expected"
        )
    if type(version) is not int or version < 1:
        raise JournalError(f"{path}: format is {version!r:.40}, where {_FORMAT} was expected; {_REMEDY}")
    if version > _FORMAT:
        raise JournalError(f"{path}: format {version}, but this program reads {_FORMAT}; update edge-lorahub")
    settings = fields.pop("settings", None)
    if not isinstance(settings, dict):
        raise JournalError(f"{path}: settings is {'missing' if settings is None else 'no object'}; {_REMEDY}")
    try:
        return read_as(Results, _cut(fields)), settings
    except UnknownFieldError as error:
        raise JournalError(f"{path}: {error}; update edge-lorahub") from error
    except ValueError as error:
        raise JournalError(f"{path}: {error}; {_REMEDY}") from error


def _cut(value: Any) -> Any:
    """JSON with its longest texts cut."""
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]}… ({len(value) - _LONGEST:,} more characters)"
    if isinstance(value, dict):
        return {key: _cut(inner) for key, inner in value.items()}
    if isinstance(value, list):
        # numbers, of which there may be millions, are left as they are
        return [_cut(inner) for inner in value] if any(type(inner) in (str, dict, list) for inner in value) else value
    return value


def _check_distinct(where: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"{where} has {twice!r:.80} twice")


def _check_percent(**values: float) -> None:
    for name, value in values.items():
        if not -_ROUNDING <= value <= 100 + _ROUNDING:
            raise ValueError(f"{name} is {value}, which is no share in percent")


def _check_among(where: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{where} has {name!r:.80}, which is none of {', '.join(known)[:200]}")
