"""Each module alone, at weight 1, on held-out inputs of its own task."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_lorahub import Example
from edge_lorahub.errors import BundleError
from edge_lorahub.files.outputs import read_json, sha256

from .compared import Problem
from .measuring import Job, Report, cell_settings, measured, module_digest, percent
from .mixture import own_task
from .skills import Skill
from .unseen import Task

_FIELDS = ("module", "digest")
# Whose versions the data or the training depend on.
_PACKAGES = ("inflect", "lemminflect", "num2words", "peft", "torch", "transformers")


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


def summary(model: Path, out: Path, found: Mapping[str, float], count: int) -> dict[str, Any]:
    """What is kept of a hub: its model, the libraries, and of each module the settings, the figure and digests."""
    modules = {}
    for name, share in found.items():
        result = read_json(out / "results" / f"{name}.json", BundleError)
        files = sorted(path for path in (out / "modules" / name).iterdir() if path.name != "README.md")
        modules[name] = {
            "settings": result["settings"],
            "processor_seconds": result["processor_seconds"],
            "loss": result["loss"],
            "own_task": {"exact_match_percent": round(share, 1), "inputs": count},
            "sha256": {path.name: sha256(path) for path in files},
        }
    return {
        "model": {"file": model.name, "sha256": sha256(model)},
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "modules": modules,
    }
