"""Each module alone, at weight 1, on held-out inputs of its own task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_lorahub import Example

from .measuring import Job, Report, cell_settings, measured, module_digest, percent
from .methods import Problem
from .mixture import own_task
from .skills import Skill
from .unseen import Task

_FIELDS = ("module", "digest")


def measure_own(
    bundle: Path, folders: Sequence[Path], skills: Mapping[str, Skill], count: int, file: Path, processes: int,
    report: Report,
) -> dict[str, float]:  # fmt: skip
    """Exact match by module, in percent."""
    jobs = []
    for folder in folders:
        pairs = tuple(Example(*pair) for pair in own_task(folder.name, skills, count))
        problem = Problem(bundle, (folder,), Task(folder.name, "own"), 1, (), pairs)
        jobs.append(Job((folder.name, module_digest(folder)), problem, None))
    found = measured(jobs, file, _FIELDS, cell_settings(bundle, count), processes, report)
    return {str(name): percent(value) for (name, _), value in found.items()}
