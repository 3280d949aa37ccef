"""An adapter's record: what went into the search for it, and what came of it.

These dataclasses are the format of `edge_lorahub.json`, which `record_file` reads and writes, and
`docs/reference/record.schema.json` describes. A new field with a default needs no new version of the format: records
without it are read, and a program that does not know it refuses it by name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from ..bundle.architectures import PRECISIONS
from ..bundle.graphs import LORA_TYPES
from ..bundle.prompt import Prompt
from ..files.typed_json import to_json
from .selection import Selection
from .stack import COMPOSITIONS

# A value in a manifest's settings of the model.
ModelSetting = bool | int | float | str | tuple[int, ...] | None


@dataclass(frozen=True)
class LearnedBundle:
    """The digests of a bundle's files by their names, its model's settings and its chat template, of its manifest."""

    files: Mapping[str, str]
    model: Mapping[str, ModelSetting]
    prompt: Prompt | None = None

    def __post_init__(self) -> None:
        for name, digest in self.files.items():
            _check_digest(f"files.{name:.80}", digest)


@dataclass(frozen=True)
class SettingsInForce:
    """`learning.settings.Settings` with what was chosen where they leave a choice; budget None: it was chosen."""

    optimizer: str
    budget: int | None
    seed: int
    bound: float
    surrogate: bool
    step_size: float
    population: int
    regularization: float
    composition: str
    max_input_tokens: int
    max_output_tokens: int
    racing: bool
    batch_tokens: int

    def __post_init__(self) -> None:
        _check_known("composition", self.composition, COMPOSITIONS)
        _check_from_0(bound=self.bound, step_size=self.step_size, regularization=self.regularization)


@dataclass(frozen=True)
class LearnedModule:
    """A module that was composed: its name, where it lay, and its `Module.sha256`."""

    name: str
    folder: str
    sha256: str

    def __post_init__(self) -> None:
        _check_digest("sha256", self.sha256)


@dataclass(frozen=True)
class LearnedExamples:
    """The examples: how many, the digest of all in their order, and the front of each one's."""

    count: int
    sha256: str
    each: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_digest("sha256", self.sha256)
        for place, digest in enumerate(self.each):
            _check_digest(f"each[{place}]", digest, DIGITS)
        if self.count != len(self.each):
            raise ValueError(f"count is {self.count}, but each has {len(self.each)}")


@dataclass(frozen=True)
class Losses:
    """Of the plain model and of what was learned, without regularization and once with it."""

    before: float
    after: float
    after_with_regularization: float


@dataclass(frozen=True)
class Reused:
    """What came from an earlier search: examples, candidates, and evaluations of one of them on another."""

    candidates: int
    examples: int
    evaluations: int


@dataclass(frozen=True, slots=True)  # there may be a million
class Tried:
    """A candidate: its weights in the modules' order, its loss with regularization, and what it was for.

    loss None: stopped early. predicted: the loss that the search expected, where it did.
    """

    weights: tuple[float, ...]
    loss: float | None
    phase: str
    predicted: float | None = None


@dataclass(frozen=True)
class Contribution:
    """How much the loss rises without a module, and the 95 % interval of that; None for what is no number."""

    loss_without_it: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Explained:
    """What the surrogate says of the result: `search.explain.Explanation`, of the modules with a weight.

    checked: the examples, by place, whose loss in left_out_losses was evaluated; None in records of before that.
    """

    contributions: Mapping[str, Contribution]
    left_out_losses: tuple[float | None, ...]
    plain_losses: tuple[float | None, ...]
    checked: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for place in self.checked or ():
            if place >= len(self.left_out_losses):
                raise ValueError(f"checked has {place}, but left_out_losses has {len(self.left_out_losses)}")


@dataclass(frozen=True)
class Truncation:
    """The rank that an adapter was cut down to, and the relative error of its change; losses are from before."""

    rank: int
    relative_error: float

    def __post_init__(self) -> None:
        _check_from_0(relative_error=self.relative_error)


@dataclass(frozen=True)
class LearnedPart:
    """A module with a weight in an adapter: its name there, and its `Module.sha256`."""

    name: str
    sha256: str
    weight: float

    def __post_init__(self) -> None:
        _check_digest("sha256", self.sha256)


@dataclass(frozen=True)
class Composed:
    """An adapter among the modules, or among the parts of one: its `Module.sha256`, and what it is composed of."""

    sha256: str
    composition: str
    parts: tuple[LearnedPart, ...]

    def __post_init__(self) -> None:
        _check_digest("sha256", self.sha256)
        _check_known("composition", self.composition, COMPOSITIONS)


@dataclass(frozen=True, kw_only=True)
class SearchInputs:
    """What goes into a search, known before it begins.

    bundle_sha256 is the digest of the bundle's manifest. lora_type and short name the graphs' variant. prompt has the
    texts around inputs and outputs. start has the
    weights that the search begins with, by module. evaluations_sha256: `Evaluations.digest` of what an earlier search
    has seen, where this one may use it.
    """

    made_by: str
    base_model: str
    bundle_sha256: str
    bundle: LearnedBundle
    precision: str
    lora_type: str
    short: bool
    prompt: Prompt
    threads: int
    settings: SettingsInForce
    modules: tuple[LearnedModule, ...]
    examples: LearnedExamples
    start: Mapping[str, float] | None = None
    evaluations_sha256: str | None = None

    def __post_init__(self) -> None:
        _check_digest("bundle_sha256", self.bundle_sha256)
        if self.evaluations_sha256 is not None:
            _check_digest("evaluations_sha256", self.evaluations_sha256)
        _check_known("precision", self.precision, PRECISIONS)
        _check_known("lora_type", self.lora_type, LORA_TYPES)
        if len({module.name for module in self.modules}) < len(self.modules):
            raise ValueError("modules has two of the same name")

    @property
    def digest(self) -> str:
        """Of all that the search depends on; threads and folders' names are not part of it."""
        kept = {field.name: to_json(getattr(self, field.name)) for field in fields(SearchInputs)}
        del kept["threads"]
        for module in kept["modules"]:
            del module["folder"]
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Record(SearchInputs):
    """All that is known of how an adapter came about.

    optimizer is the search's name in full. budget: the most candidates that there were to be; converged: the search
    saw nothing more to gain. weights by module. spared: the share of the examples' evaluations that racing saved.
    untried: modules that no candidate had. composed: of modules that are adapters, and of their parts, what they are
    composed of. selection: of the modules that were chosen of more.
    """

    optimizer: str
    budget: int
    converged: bool
    weights: Mapping[str, float]
    loss: Losses
    seconds: float
    spared: float
    untried: tuple[str, ...]
    reused: Reused
    trace: tuple[Tried, ...]
    explanation: Explained | None = None
    truncation: Truncation | None = None
    composed: tuple[Composed, ...] | None = None
    selection: Selection | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        names = {module.name for module in self.modules}
        if self.weights.keys() != names:
            raise ValueError("weights are of other modules than modules has")
        contributions = {} if self.explanation is None else self.explanation.contributions
        for what, named in (
            ("start", self.start or {}), ("untried", self.untried), ("explanation.contributions", contributions),
            ("selection.scores", {} if self.selection is None else self.selection.scores),
        ):  # fmt: skip
            if strange := set(named) - names:
                raise ValueError(f"{what} has {min(strange)!r:.80}, which modules has not")
        for place, tried in enumerate(self.trace):
            if len(tried.weights) != len(names):
                raise ValueError(f"trace[{place}].weights has {len(tried.weights)} numbers for {len(names)} modules")
        if not 0 <= self.spared <= 1:
            raise ValueError(f"spared is {self.spared}, which is no share")
        _check_from_0(seconds=self.seconds)


# Hexadecimal digits of an example's digest: enough that no two of a million are the same by chance.
DIGITS = 16
_HEXADECIMAL = re.compile(r"[0-9a-f]*")


def _check_digest(name: str, value: str, digits: int = 64) -> None:
    if len(value) != digits or not _HEXADECIMAL.fullmatch(value):
        raise ValueError(f"{name} is {value[:40]!r}, where a digest of {digits} hexadecimal digits was expected")


def _check_from_0(**numbers: float) -> None:
    for name, value in numbers.items():
        if value < 0:
            raise ValueError(f"{name} is {value}, where a number from 0 was expected")


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value[:40]!r}, where {' or '.join(known)} was expected")
