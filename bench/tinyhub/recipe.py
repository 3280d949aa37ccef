"""From nothing to the hub's folders."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.multiprocessing as mp

from edge_lorahub.tinyhub.unseen import DEV_TASKS, TEST_TASKS
from edge_lorahub.tinyhub.vocabulary import vocabulary

from .cards import base_card
from .folders import save_base
from .jobs import Job, Settings, all_jobs, run_job
from .model import new_base
from .train_base import BaseTraining, train_base
from .train_module import LoraTraining

Report = Callable[[str], None]


def scaled(steps_scale: float) -> tuple[BaseTraining, Settings]:
    """The recipe's settings with every number of steps multiplied by ``steps_scale``."""
    base, modules = BaseTraining(), Settings()

    def shorter(training: LoraTraining) -> LoraTraining:
        return replace(training, steps=max(2, round(training.steps * steps_scale)))

    return replace(base, steps=max(10, round(base.steps * steps_scale))), replace(
        modules,
        clean=shorter(modules.clean),
        entangled=shorter(modules.entangled),
        tuned_500=shorter(modules.tuned_500),
        tuned_5=shorter(modules.tuned_5),
    )


def make_base(out: Path, settings: BaseTraining) -> None:
    """Train the base and write its folder."""
    out.mkdir(parents=True, exist_ok=True)
    weights = out / "base.pt"
    train_base(settings, weights)
    model = new_base(settings.seed)
    model.load_state_dict(torch.load(weights, weights_only=True))
    weights.unlink()
    parameters = sum(p.numel() for p in model.parameters())
    save_base(model, out / "base", base_card(settings, parameters, len(vocabulary())))


def run_jobs(out: Path, settings: Settings, jobs: list[Job], report: Report, processes: int = 2) -> dict[Job, float]:
    """Every job's held-out accuracy, in the jobs' order; each job is seeded by itself, so their timing is free."""
    started = time.perf_counter()
    scores: dict[Job, float] = {}
    with mp.get_context("spawn").Pool(processes) as pool:
        waiting = [pool.apply_async(run_job, (out, settings, job)) for job in jobs]
        for future in waiting:
            job, score = future.get()
            scores[job] = score
            report(f"{job.kind} {job.name} {score:.1f} % after {time.perf_counter() - started:.0f} s")
    return scores


def write_results(out: Path, scores: dict[Job, float]) -> None:
    """``results.json``: held-out accuracies of the modules and of fine-tuning on the unseen tasks."""
    tasks = {"dev": [t.name for t in DEV_TASKS], "test": [t.name for t in TEST_TASKS]}
    found = {(job.kind, job.name): round(score, 2) for job, score in scores.items()}
    results = {
        "modules": {kind: {n: s for (k, n), s in found.items() if k == kind} for kind in ("clean", "entangled")},
        "fine_tuned": {
            kind: {part: {name: found[kind, name] for name in names} for part, names in tasks.items()}
            for kind in ("tuned_5", "tuned_500")
        },
    }
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def make_hub(out: Path, steps_scale: float, report: Report) -> None:
    """Train everything and write ``base/``, ``modules/`` and ``results.json`` into ``out``."""
    base, modules = scaled(steps_scale)
    make_base(out, base)
    write_results(out, run_jobs(out, modules, all_jobs(), report))
