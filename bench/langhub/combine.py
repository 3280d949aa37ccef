"""Unseen tasks by method: what the plain model, controls and searches reach after five examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from edge_lorahub import Example
from edge_lorahub.errors import MissingPathError

from .compared import Problem, Value
from .measuring import Job, Report, cell_settings, measured, module_digest
from .mixture import SHOTS, task_examples
from .skills import Skill
from .unseen import MODULES, Task

_FIELDS = ("task", "seed", "method")
_CONFIG = "adapter_config.json"

# method -> task -> a value for each draw of examples
Results = dict[str, dict[str, list[Value]]]


def module_folders(out: Path) -> list[Path]:
    """The modules that are in ``out/modules``, in the hub's order. Raises MissingPathError where there is none."""
    folders = [out / "modules" / name for name in MODULES if (out / "modules" / name / _CONFIG).exists()]
    if not folders:
        raise MissingPathError(f"{out / 'modules'} has no module; train some first")
    return folders


def measure_tasks(
    bundle: Path, folders: Sequence[Path], skills: Mapping[str, Skill], tasks: Sequence[Task], seeds: Sequence[int],
    count: int, methods: Sequence[str], file: Path, processes: int, report: Report,
) -> Results:  # fmt: skip
    """Every method on every task with every draw of five examples, on up to ``count`` other inputs."""
    jobs = []
    for seed, task in product(seeds, tasks):
        pairs = [Example(*pair) for pair in task_examples(task, skills, SHOTS + count, seed)]
        problem = Problem(bundle, tuple(folders), task, seed, tuple(pairs[:SHOTS]), tuple(pairs[SHOTS:]))
        jobs += [Job((task.name, seed, method), problem, method) for method in methods]
    settings = cell_settings(bundle, count)
    settings["modules"] = {folder.name: module_digest(folder) for folder in folders}
    found = measured(jobs, file, _FIELDS, settings, processes, report)
    return {
        method: {task.name: [found[task.name, seed, method] for seed in seeds] for task in tasks} for method in methods
    }
