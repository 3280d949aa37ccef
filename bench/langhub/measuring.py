"""Cells measured by processes of their own, each kept as soon as it is there."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lorahub.bundle.manifest import MANIFEST
from edge_lorahub.files.outputs import sha256
from edge_lorahub.runtime.pool import uninterrupted

from ..cells import Cells, Key
from ..quality_table import digest_of, program
from .compared import Problem, Value, measure, measure_alone
from .mixture import SHOTS

Report = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What a cell is measured of. method None: the problem's only module alone."""

    key: Key
    problem: Problem
    method: str | None


def measured(
    jobs: Sequence[Job], path: Path, fields: Sequence[str], settings: dict[str, Any], processes: int, report: Report
) -> dict[Key, Value]:
    """The value of every job. What the file of cells has is not measured again. Raises JournalError, as `Cells`."""
    with closing(Cells(path, fields, settings, resume=path.exists(), is_value=_is_value)) as cells:
        missing = [job for job in jobs if job.key not in cells]
        report(f"{len(jobs) - len(missing)} of {len(jobs)} cells known")
        if missing:
            with uninterrupted():
                pool = multiprocessing.get_context("spawn").Pool(processes, _silence)
            with pool:
                for number, (key, value) in enumerate(pool.imap_unordered(_run, missing), 1):
                    cells.record(key, value)
                    report(f"{number} of {len(missing)}: {', '.join(map(str, key))}: {percent(value):.1f} %")
        return {job.key: cells[job.key] for job in jobs}


def cell_settings(bundle: Path, count: int) -> dict[str, Any]:
    """What all cells depend on beside their fields and modules."""
    return {"bundle": sha256(bundle / MANIFEST), **program(), "examples": SHOTS, "held out": count}


def module_digest(folder: Path) -> str:
    """Of a module's files, but for its card."""
    return digest_of(folder, (path for path in folder.iterdir() if path.name != "README.md"))


def percent(value: Value) -> float:
    """Exact match, from 0 to 100."""
    right: str = value["right"]
    return 100 * right.count("1") / len(right)


def _run(job: Job) -> tuple[Key, Value]:
    return job.key, measure_alone(job.problem) if job.method is None else measure(job.problem, job.method)


def _is_value(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(right := value.get("right"), str):
        return False
    return bool(right) and set(right) <= {"0", "1"}


def _silence() -> None:
    """SciPy warns of every Cobyla that is asked for less than it wants, and a process's warnings interleave."""
    warnings.simplefilter("ignore")
