"""What is to be compared: all cells of a comparison, made of its inputs and checked before the slow part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from ..bundle.manifest import MANIFEST
from ..errors import SettingsError
from ..files.outputs import sha256
from ..files.typed_json import to_json
from ..learning.promise import card_text
from ..lora.module import Module
from ..runtime.opened import OpenBundle
from ..sharing.choosing import draw as draw_modules
from .cell import Cell, CellSettings, ModuleFolder, digest_of, versions
from .choices import choices_of
from .compared_methods import Method
from .example_draws import Draw, draw
from .metrics import Metric
from .task_files import Task


@dataclass(frozen=True)
class Plan:
    """A comparison before it is measured.

    examples: how many are learned from. limit: the most inputs that are answered of a task, None: all. count: where
    there are more modules, so many are drawn with the seed.
    """

    bundle: OpenBundle
    tasks: Sequence[Task]
    modules: Sequence[Module]
    methods: Sequence[Method]
    seeds: Sequence[int]
    metric: Metric
    settings: CellSettings
    examples: int = 5
    limit: int | None = None
    count: int = 20
    versions: Mapping[str, str] = field(default_factory=versions)

    @cached_property
    def bundle_sha256(self) -> str:
        return sha256(self.bundle.folder / MANIFEST)

    @property
    def random_weights(self) -> bool:
        """Whether the base model says so in its name, as those for tests do."""
        return "random" in self.bundle.manifest.model.base_model.lower()

    @cached_property
    def drawn(self) -> dict[int, tuple[ModuleFolder, ...]]:
        """The modules by seed, in the order in which they were drawn."""
        folders = [
            ModuleFolder(one.name, one.folder.absolute(), one.sha256, digest_of(card_text(one))) for one in self.modules
        ]
        if len(folders) <= self.count:
            return dict.fromkeys(self.seeds, tuple(folders))
        return {seed: tuple(draw_modules(folders, self.count, seed)) for seed in self.seeds}

    @cached_property
    def cells(self) -> list[Cell]:
        """Every method on every task under every seed. Raises ExamplesError where a task has too few examples."""
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise SettingsError(f"seeds must be different and at least one, got {list(self.seeds)}")
        draws = {
            (task.name, seed): draw(task, seed, self.examples, self.limit)
            for task, seed in product(self.tasks, self.seeds)
        }
        cells = []
        for task, seed in product(self.tasks, self.seeds):
            found = draws[task.name, seed]
            choices = choices_of(task, found.inputs) if self.metric.chooses else None
            cells += [self._cell(task, seed, method, found, choices) for method in self.methods]
        return cells

    @property
    def record(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        searching = [method for method in self.methods if method.searches]
        return {
            "examples": self.examples,
            "limit": self.limit,
            "count": self.count,
            "budget": searching[0].budget if searching else None,
            "optimizers": list(dict.fromkeys(method.optimizer for method in searching)),
            "composition": list(dict.fromkeys(method.composition for method in searching)),
            "metric": {"name": self.metric.name, "sha256": self.metric.sha256},
            "max_new_tokens": None,
            **to_json(self.settings),
        }

    def _cell(
        self, task: Task, seed: int, method: Method, found: Draw, choices: tuple[tuple[str, ...], ...] | None
    ) -> Cell:
        return Cell(
            task=task.name,
            seed=seed,
            method=method,
            bundle=self.bundle.folder.absolute(),
            bundle_sha256=self.bundle_sha256,
            modules=self.drawn[seed] if method.needs_modules else (),
            examples=found.examples,
            inputs=found.inputs,
            choices=choices,
            settings=self.settings,
            versions=self.versions,
        )
