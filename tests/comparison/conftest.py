"""A small comparison on the tiny checkpoint: two tasks, few inputs, short searches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from comparisons import MakePlan

from edge_lorahub import Modules
from edge_lorahub.bundle.prompt import Prompt
from edge_lorahub.comparison.cell import CellSettings
from edge_lorahub.comparison.compared_methods import make_methods
from edge_lorahub.comparison.metrics import read_metric
from edge_lorahub.comparison.plan import Plan
from edge_lorahub.comparison.task_files import read_tasks
from edge_lorahub.runtime.opened import OpenBundle


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks in the tiny tokenizer's words, of ten inputs each."""
    folder = tmp_path_factory.mktemp("data")
    for place, name in enumerate(("first", "zweite-ü")):
        rows = [{"input": f"w{10 + i} w{40 + i + place}", "output": f"w{20 + i % 3}"} for i in range(10)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def make_plan(bundle: Path, module_folders: list[Path], data: Path) -> MakePlan:
    def make(
        methods: Sequence[str] | None = None, metric: str = "exact", seeds: Sequence[int] = (1, 2), budget: int = 3,
        **changes: object,
    ) -> Plan:  # fmt: skip
        found = {} if methods is None else {"kinds": methods}
        return Plan(
            OpenBundle(bundle), read_tasks([data]), Modules.load(module_folders),
            make_methods(budget=budget, surrogate=False, **found), seeds, read_metric(metric), CellSettings(Prompt()),
            limit=4, **changes,
        )  # fmt: skip

    return make
