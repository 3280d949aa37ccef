"""From the model to the hub's folders: modules one by one, each with a result; what is finished is kept."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_lorahub.errors import BundleError, SettingsError
from edge_lorahub.files.outputs import read_json, write_text
from edge_lorahub.tinyhub.draws import Draws, seed_for

from .base import Base
from .cards import module_card
from .folders import save_module
from .forms import FORMS
from .mixture import VAGUE, module_mixture, own_task
from .padding import Pairs
from .skills import Skill
from .train_module import Training, train_module
from .unseen import DEV_TASKS, TEST_TASKS
from .vocabulary import skills_of

Report = Callable[[str], None]
# By the front of a module's name: a form is seen with every skill, which takes longer.
_SETTINGS = {"do": Training(steps=80, rate=3e-3), "form": Training(steps=110)}
# These were below 80 % of their own task with fewer steps; `do-past`, which has few rules, was not tried with them.
_LONGER = {"do": Training(steps=200), "form": Training(steps=220)}
_SETTINGS_OF = {
    name: _LONGER[name.partition("-")[0]]
    for name in ("do-past", "do-gerund", "do-plural", "do-comparative", "do-reverse",
                 "form-json", "form-bracket", "form-twice", "form-title", "form-bold")
}  # fmt: skip
_SHOWN = 3  # examples on a card
_EVERY = 20  # steps between two lines


def settings_of(name: str) -> Training:
    """The settings of a module's training."""
    return _SETTINGS_OF.get(name) or _SETTINGS[name.partition("-")[0]]


def train_hub(base: Base, out: Path, chosen: Mapping[str, Training], seed: int, report: Report) -> None:
    """Train modules, by name with their settings, into ``out/modules``, with a result each in ``out/results``.

    A module that has a result of the same settings, seed and data is left as it is. Raises SettingsError where they are
    others, before anything is trained.
    """
    skills = skills_of(base.tokenizer)
    records = {name: _record(settings, seed, skills) for name, settings in chosen.items()}
    missing = sum(not _finished(out, name, record) for name, record in records.items())
    for folder in (out / "modules", out / "results"):
        folder.mkdir(parents=True, exist_ok=True)
    report(f"{missing} of {len(chosen)} modules to train, seed {seed}")
    for name, record in records.items():
        if not _finished(out, name, record):  # as it may be by now, where another run shares the folder
            _train_one(base, skills, out, name, chosen[name], record, report)


def _record(settings: Training, seed: int, skills: Mapping[str, Skill]) -> dict[str, Any]:
    """What a module depends on: settings, seed, and a digest of all that a training may draw."""
    phrases = {name: form.phrases for name, form in FORMS.items()}
    data = hashlib.sha256(repr((skills, phrases, VAGUE, DEV_TASKS, TEST_TASKS)).encode()).hexdigest()
    return {**asdict(settings), "seed": seed, "data": data[:16]}


def _finished(out: Path, name: str, record: dict[str, Any]) -> bool:
    result = out / "results" / f"{name}.json"
    if not result.exists():
        if (out / "modules" / name).exists():
            raise SettingsError(
                f"{out / 'modules' / name} has no result in {result}; remove that folder to train it again"
            )
        return False
    known = read_json(result, BundleError).get("settings")
    if known != record:
        raise SettingsError(f"{result} is of other settings or data ({known}, not {record}); take another folder")
    return True


def _train_one(
    base: Base,
    skills: Mapping[str, Skill],
    out: Path,
    name: str,
    settings: Training,
    record: dict[str, Any],
    report: Report,
) -> None:
    seed = record["seed"]
    mixture = module_mixture(name)
    # A stream for each module, so that neither their order nor their number matters.
    module_seed = seed_for(name, seed)
    draws = Draws(module_seed)
    started, cpu = time.perf_counter(), time.process_time()
    losses: list[float] = []

    def next_pairs() -> Pairs:
        return [mixture.draw(skills, draws) for _ in range(settings.batch)]

    def each(step: int, loss: float) -> None:
        losses.append(loss)
        if step % _EVERY == 0 or step == settings.steps:
            mean = sum(losses[-_EVERY:]) / len(losses[-_EVERY:])
            report(
                f"{name} step {step} loss {mean:.3f}, {time.perf_counter() - started:.0f} s, "
                f"{(time.process_time() - cpu) / step:.2f} s of processors a step"
            )

    model = train_module(base, settings, next_pairs, module_seed % 2**31, each)
    seconds = time.perf_counter() - started
    shown = own_task(name, skills, _SHOWN)
    save_module(model, out / "modules" / name, module_card(name, mixture, settings, seed, shown))
    model.unload()
    result = {
        "module": name,
        "settings": record,
        "seconds": round(seconds, 1),
        "processor_seconds": round(time.process_time() - cpu, 1),
        "loss": round(sum(losses[-_EVERY:]) / len(losses[-_EVERY:]), 4),
    }
    write_text(out / "results" / f"{name}.json", json.dumps(result, indent=1) + "\n")
    report(f"{name}: {seconds:.0f} s")
