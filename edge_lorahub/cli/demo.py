"""`edge-lorahub demo`: real learning on the embedded hub, with no download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import NotWritableError, SettingsError
from . import options
from .main import COMMANDS

if TYPE_CHECKING:
    from ..tinyhub import UnseenTask


@click.command(short_help=COMMANDS["demo"][1])
@click.option("--task", "name", default="first-upper-plain", show_default=True, help="An unseen task.")
@click.option("--list", "list_tasks", is_flag=True, help="List the unseen tasks and stop.")
@click.option(
    "--modules",
    "kind",
    type=click.Choice(["clean", "entangled"]),
    default="clean",
    show_default=True,
    help="Modules of one skill each, or of fixed combinations of three.",
)
@click.option("--budget", default=100, show_default=True, help="Candidates to evaluate.")
@click.option(
    "--optimizer", default="reference", show_default=True, help="As for adapt; the composition is always exact."
)
@click.option("--seed", default=1, show_default=True, help="Of the examples and of the optimiser.")
@options.threads
@options.as_json
def command(
    name: str, list_tasks: bool, kind: str, budget: int, optimizer: str, seed: int, threads: int | None, as_json: bool
) -> None:  # fmt: skip
    """See LoraHub learning work on the embedded hub: a tiny T5 and 44 LoRA modules.

    Takes a task that neither the base nor any module was trained on, learns it from five examples, and
    measures exact match on 200 other inputs.
    """
    import json

    from ..tinyhub import DEV_TASKS, TEST_TASKS

    tasks = {task.name: task for task in (*DEV_TASKS, *TEST_TASKS)}
    if list_tasks:
        rows = [(task.name, task.description) for task in tasks.values()]
        if as_json:
            click.echo(json.dumps(dict(rows), ensure_ascii=False))
        else:
            options.print_table(["task", "what"], rows, numbers=False)
        return
    if name not in tasks:
        raise SettingsError(f"no unseen task {name!r}; `edge-lorahub demo --list` has them all")
    facts = _demonstrate(tasks[name], kind, budget, optimizer, seed, threads, quiet=as_json)
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))


def _demonstrate(
    task: UnseenTask, kind: str, budget: int, optimizer: str, seed: int, threads: int | None, *, quiet: bool
) -> dict[str, Any]:  # fmt: skip
    import tempfile

    import numpy as np

    from ..adaptation import Settings, adapt
    from ..bench.quality import (
        HELD_OUT,
        MOST_NEW_TOKENS,
        SHOTS,
        Trial,
        as_weights,
        best_single,
        random_modules,
    )
    from ..examples import Example
    from ..generation import generate
    from ..modules import Modules
    from ..session import load
    from ..tinyhub import examples
    from ..tinyhub.hub import module_folders
    from .adapt import learn_with_progress

    settings = Settings(budget=budget, optimizer=optimizer, seed=seed, composition="exact")
    pairs = [Example(*pair) for pair in examples(task.task, SHOTS + HELD_OUT, seed)]
    shots, held_out = pairs[:SHOTS], pairs[SHOTS:]
    model = load(base_bundle(), threads=threads)
    modules = Modules.load(module_folders(kind))
    trial = Trial(model, modules, held_out)
    if not quiet:
        click.echo(
            f"{task.name}: {task.description}. The instruction before the colon is filler; only the examples tell.\n"
        )
        answers = generate(model, [e.input for e in shots], max_new_tokens=MOST_NEW_TOKENS)
        rows = [(e.input, e.output, answer) for e, answer in zip(shots, answers, strict=True)]
        options.print_table(["input", "output", "the plain model answers"], rows, numbers=False)
    result = learn_with_progress(model, modules, shots, settings)
    with tempfile.TemporaryDirectory() as folder:
        noise = random_modules(modules, Path(folder), seed)
        noise_weights = as_weights(adapt(model, noise, shots, settings).weights)
        accuracy = {
            "plain model": trial.accuracy(np.zeros(len(modules)), "exact"),
            "best single module": trial.accuracy(best_single(model, modules, shots), "exact"),
            "random modules": Trial(model, noise, held_out).accuracy(noise_weights, "exact"),
            "adapted": trial.accuracy(as_weights(result.weights), "exact"),
        }
    if not quiet:
        weights = sorted(result.weights.items(), key=lambda item: -abs(item[1]))
        options.print_table(["module", "weight"], [(name, f"{weight:+.2f}") for name, weight in weights])
        options.print_table(
            [f"exact match on {HELD_OUT} other inputs", "%"], [(name, f"{a:.1f}") for name, a in accuracy.items()]
        )
        click.echo(f"{len(result.trace)} candidates, {result.optimizer}: {result.seconds:.1f} s")
        click.echo(
            "\nWith a model, modules and examples of your own:\n"
            "  edge-lorahub export google/flan-t5-base flan-t5-base\n"
            "  edge-lorahub adapt flan-t5-base examples.jsonl --module DIR --module DIR --out my-task"
        )
    return {
        "task": task.name,
        "modules": kind,
        "seed": seed,
        "optimizer": result.optimizer,
        "candidates": len(result.trace),
        "seconds": round(result.seconds, 3),
        "loss": {"before": result.loss_before, "after": result.loss_after},
        "weights": result.weights,
        "exact_match_percent": accuracy,
    }


def base_bundle() -> Path:
    """The embedded base as a bundle in the user's cache, exported there if this version has not been yet."""
    import atexit
    import shutil
    import tempfile

    from platformdirs import user_cache_path

    from .. import __version__
    from ..contract import FORMAT_VERSION, MANIFEST, read_manifest
    from ..errors import BundleError
    from ..export import export
    from ..files import sha256
    from ..tinyhub.hub import BASE

    digest = sha256(BASE / "model.safetensors")[:12]
    out = Path(user_cache_path("edge-lorahub")) / f"tiny-t5-{__version__}-{FORMAT_VERSION}-{digest}"
    damaged = False
    if (out / MANIFEST).is_file():
        try:
            read_manifest(out)
        except BundleError:
            damaged = True
        else:
            return out
    try:
        export(BASE, out, force=damaged)
    except NotWritableError:
        # a home that cannot be written to, as in containers: for this run only
        folder = tempfile.mkdtemp(prefix="edge-lorahub-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        out = Path(folder) / out.name
        export(BASE, out)
    except OSError:
        # another process was faster: folders appear whole, so its bundle serves as well
        if not (out / MANIFEST).is_file():
            raise
    return out
