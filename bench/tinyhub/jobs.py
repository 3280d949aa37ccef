"""The modules and the fine-tuning controls as independent jobs, run by single-threaded processes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from transformers import T5ForConditionalGeneration

from edge_lorahub.tinyhub.draws import Draws
from edge_lorahub.tinyhub.tasks import draw_pair, examples
from edge_lorahub.tinyhub.unseen import CLEAN_MODULES, DEV_TASKS, ENTANGLED_MODULES, TEST_TASKS

from .accuracy import accuracy
from .cards import module_card
from .folders import load_base, save_module
from .mixture import Mixture
from .train_module import LoraTraining, Pairs, train_lora

_HELD_OUT = 200
# The seeds of the examples that fine-tuning is repeated for: five examples vary more than five hundred.
_TUNED_SEEDS = {"tuned_5": (1, 2, 3), "tuned_500": (1,)}


@dataclass(frozen=True)
class Settings:
    """Settings of the module trainings and of the two fine-tuning controls."""

    clean: LoraTraining = field(default_factory=LoraTraining)
    entangled: LoraTraining = field(default_factory=lambda: LoraTraining(steps=200))
    tuned_500: LoraTraining = field(default_factory=lambda: LoraTraining(steps=250))
    tuned_5: LoraTraining = field(default_factory=lambda: LoraTraining(steps=100, batch=5, rate=5e-3))
    silent: float = 0.5
    seed: int = 1


@dataclass(frozen=True)
class Job:
    """One LoRA to train: ``kind`` is clean, entangled, tuned_5 or tuned_500; ``name`` its module or task."""

    kind: str
    name: str


def all_jobs() -> list[Job]:
    """Every job, the long ones of a kind first to last in the order of their tables."""
    unseen = [task.name for task in DEV_TASKS + TEST_TASKS]
    return [
        *(Job("clean", name) for name in CLEAN_MODULES),
        *(Job("entangled", name) for name in ENTANGLED_MODULES),
        *(Job(kind, name) for kind in ("tuned_500", "tuned_5") for name in unseen),
    ]


def run_job(out: Path, settings: Settings, job: Job) -> tuple[Job, float]:
    """Train the job's LoRA on the base in ``out``, write it if it is a module; its held-out accuracy."""
    torch.set_num_threads(1)
    base = load_base(out / "base")
    seed = settings.seed * 100_000 + zlib.crc32(f"{job.kind}/{job.name}".encode()) % 100_000
    training: LoraTraining = getattr(settings, job.kind)
    if job.kind in ("tuned_5", "tuned_500"):
        return job, _tune(base, job, training, seed)
    if job.kind == "clean":
        axis, value = CLEAN_MODULES[job.name]
        purpose = f"The {axis} is `{value}` without the instruction saying so; everything else varies."
        draws, mixture = Draws(seed), Mixture(settings.silent, fixed=((axis, value),))

        def next_pairs() -> Pairs:
            return [mixture.draw(draws) for _ in range(training.batch)]

        stated = Draws(seed + 1)
        held_out = [Mixture(fixed=mixture.fixed).draw(stated) for _ in range(_HELD_OUT)]
    else:
        task = ENTANGLED_MODULES[job.name]
        purpose = (
            f"The operation is `{task.operation}`, the spelling `{task.transform}`, the layout `{task.layout}`; "
            "the instruction says nothing."
        )
        draws = Draws(seed)

        def next_pairs() -> Pairs:
            return [draw_pair(task, draws) for _ in range(training.batch)]

        held_out = examples(task, _HELD_OUT, seed + 1)
    model = train_lora(base, training, next_pairs, seed)
    score = accuracy(model, held_out)
    card = module_card(job.name, purpose, training, seed, held_out[:3], score, _HELD_OUT)
    save_module(model, out / "modules" / job.kind / job.name, card)
    return job, score


def _tune(base: T5ForConditionalGeneration, job: Job, training: LoraTraining, seed: int) -> float:
    """Held-out accuracy of a LoRA that is trained with gradients on the unseen task's own examples."""
    task = next(unseen.task for unseen in DEV_TASKS + TEST_TASKS if unseen.name == job.name)
    count = {"tuned_5": 5, "tuned_500": 500}[job.kind]
    scores = []
    for repeat in _TUNED_SEEDS[job.kind]:
        pairs = examples(task, count + _HELD_OUT, repeat)
        next_pairs = partial(Draws(seed + repeat).sample, pairs[:count], training.batch)
        model = train_lora(base, training, next_pairs, seed + repeat)
        scores.append(accuracy(model, pairs[count:]))
    return sum(scores) / len(scores)
