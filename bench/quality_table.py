"""The table of `bench tinyhub`: every method on every unseen task, cell by cell."""

from __future__ import annotations

import hashlib
import importlib.metadata
import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import edge_lorahub
from edge_lorahub.bundle.manifest import MANIFEST
from edge_lorahub.errors import SettingsError
from edge_lorahub.files.outputs import sha256
from edge_lorahub.runtime.pool import uninterrupted
from edge_lorahub.tinyhub import DEV_TASKS, TEST_TASKS
from edge_lorahub.tinyhub.hub import DATA

from .cells import Cells
from .methods import METHODS, Problem, measure, together
from .quality import HELD_OUT, MOST_NEW_TOKENS, SHOTS

# (part, kind of modules) -> method -> task -> exact match in percent
Results = dict[tuple[str, str], dict[str, dict[str, float]]]
PARTS = {"dev": DEV_TASKS, "test": TEST_TASKS}
# What tells a cell from the others.
FIELDS = ("modules", "task", "seed", "method")
# Whose versions a search or an answer may depend on.
_PACKAGES = ("numpy", "onnxruntime", "nevergrad", "tokenizers")

Job = tuple[Problem, tuple[str, ...]]


def chosen(only: str) -> list[str]:
    """The methods with `only` in their name, in the table's order. Raises SettingsError if there is none."""
    names = [name for name in METHODS if only in name]
    if not names:
        raise SettingsError(f"no method has {only!r} in its name; there are {'; '.join(METHODS)}")
    return names


def cell_settings(bundle: Path) -> dict[str, Any]:
    """All that a cell depends on beside its fields: the model, the modules, the program and its libraries."""
    return {
        "bundle": sha256(bundle / MANIFEST),
        "hub": digest_of(DATA, DATA.rglob("*")),
        **program(),
        "examples": SHOTS,
        "held out": HELD_OUT,
        "tokens": MOST_NEW_TOKENS,
    }


def program() -> dict[str, Any]:
    """Digests of the program's own sources, and the versions of the libraries that its answers depend on."""
    packages = Path(edge_lorahub.__file__).parent, Path(__file__).parent
    return {
        "program": [digest_of(package, package.rglob("*.py")) for package in packages],
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def is_percent(value: object) -> bool:
    """Whether a file's value may be an exact match."""
    return isinstance(value, float) and 0 <= value <= 100


def measure_all(
    bundle: Path, parts: Sequence[str], kinds: Sequence[str], seeds: Sequence[int], names: Sequence[str],
    cells: Cells, processes: int, on_cells: Callable[[int], None] = lambda count: None,
) -> Results:  # fmt: skip
    """Methods on every task of the parts, as means over the seeds; what `cells` has is not measured again.

    on_cells is called with the number of cells that are known, and of those that were measured as they come. Processes
    of their own measure; a job of one is a problem's methods that share a search.
    """
    columns = [(part, kind) for part in parts for kind in kinds]
    problems = [Problem(bundle, kind, task, s) for part, kind in columns for task in PARTS[part] for s in seeds]
    jobs = [job for problem in problems for job in _jobs(problem, names, cells)]
    on_cells(len(problems) * len(names) - sum(len(methods) for _, methods in jobs))
    if jobs:
        with uninterrupted():
            pool = multiprocessing.get_context("spawn").Pool(processes, _silence)
        with pool:
            for (problem, methods), values in pool.imap_unordered(_run, jobs):
                for method, value in zip(methods, values, strict=True):
                    cells.record(_key(problem, method), value)
                on_cells(len(methods))
    found: Results = {column: {name: {} for name in names} for column in columns}
    for part, kind in columns:
        for name, tasks in found[part, kind].items():
            for task in PARTS[part]:
                of_seeds = [cells[_key(Problem(bundle, kind, task, seed), name)] for seed in seeds]
                tasks[task.name] = sum(of_seeds) / len(seeds)
    return found


def _jobs(problem: Problem, names: Sequence[str], cells: Cells) -> list[Job]:
    missing = [name for name in names if _key(problem, name) not in cells]
    return [(problem, tuple(group)) for _, group in groupby(missing, together)]


def _run(job: Job) -> tuple[Job, list[float]]:
    return job, measure(*job)


def _key(problem: Problem, method: str) -> tuple[str | int, ...]:
    return problem.kind, problem.task.name, problem.seed, method


def _silence() -> None:
    """SciPy warns of every Cobyla that is asked for less than it wants, and a process's warnings interleave."""
    warnings.simplefilter("ignore")


def digest_of(folder: Path, files: Iterable[Path]) -> str:
    """Of files' names in the folder and their contents."""
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()


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
