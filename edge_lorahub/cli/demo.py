"""`edge-lorahub demo`: real learning on the embedded hub, with no download."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import EdgeLorahubWarning, SettingsError
from . import options
from .main import COMMANDS
from .printable import say, say_json

if TYPE_CHECKING:
    from ..examples.example import Example
    from ..learning.settings import Settings
    from ..tinyhub import UnseenTask


@click.command(short_help=COMMANDS["demo"][1])
@click.option("--task", "name", default="first-upper-plain", show_default=True, help="An unseen task.")
@click.option("--list", "list_tasks", is_flag=True, help="List the unseen tasks and stop.")
@click.option(
    "--modules",
    "kind",
    type=click.Choice(["clean", "entangled", "both"]),
    default="clean",
    show_default=True,
    help="Modules of one skill each, of fixed combinations of three, or both.",
)
@options.budget
@options.search
@click.option("--seed", default=1, show_default=True, help="Of the examples and of the optimizer.")
@options.threads
@options.as_json
def command(
    name: str, list_tasks: bool, kind: str, budget: int | None, composition: str | None, optimizer: str,
    surrogate: bool | None, seed: int, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """See LoraHub learning work on the embedded hub: a tiny T5 and 44 LoRA modules.

    Takes a task that neither the base nor any module was trained on, learns it from five examples, and
    measures on 200 other inputs: exact match, to the letter, and normalized match, as evaluate does.
    """
    from ..learning.settings import Settings
    from ..tinyhub import DEV_TASKS, TEST_TASKS

    tasks = {task.name: task for task in (*DEV_TASKS, *TEST_TASKS)}
    if list_tasks:
        rows = [(task.name, task.description) for task in tasks.values()]
        if as_json:
            say_json(dict(rows))
        else:
            options.print_table(["task", "what"], rows, numbers=False)
        return
    if name not in tasks:
        raise SettingsError(f"no unseen task {name!r}; `edge-lorahub demo --list` has them all")
    options.refuse_unused(optimizer, ["surrogate"] if surrogate is False else [])
    settings = Settings(optimizer=optimizer, surrogate=surrogate, budget=budget, seed=seed, composition=composition)
    facts = _demonstrate(tasks[name], kind, settings, threads, quiet=as_json)
    if as_json:
        say_json(facts)


def _demonstrate(
    task: UnseenTask, kind: str, settings: Settings, threads: int | None, *, quiet: bool
) -> dict[str, Any]:  # fmt: skip
    import tempfile

    from ..bench.quality import HELD_OUT, MOST_NEW_TOKENS, SHOTS, best_single, random_modules
    from ..composition.adapter import Adapter, load_adapter
    from ..evaluation.matches import evaluate
    from ..examples.example import Example
    from ..learning.adaptation import adapt
    from ..lora.modules import Modules
    from ..runtime.generation import generate
    from ..runtime.session import load
    from ..tinyhub import examples
    from ..tinyhub.hub import module_folders
    from .adapt import learn_with_progress
    from .demo_bundle import base_bundle
    from .search_report import print_answers, print_time, print_weights

    pairs = [Example(*pair) for pair in examples(task.task, SHOTS + HELD_OUT, settings.seed)]
    shots, held_out = pairs[:SHOTS], pairs[SHOTS:]
    bundle = base_bundle()
    model = load(bundle, threads=threads)
    modules = Modules.load(module_folders(kind))
    if not quiet:
        say(
            f"{task.name}: {task.description}. The instruction before the colon is filler; only the examples tell.",
            "",
        )
        answers = generate(model, [e.input for e in shots], max_new_tokens=MOST_NEW_TOKENS)
        rows = [(e.input, e.output, answer) for e, answer in zip(shots, answers, strict=True)]
        options.print_table(["input", "output", "the plain model answers"], rows, numbers=False)
    result = learn_with_progress(model, modules, shots, settings)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", EdgeLorahubWarning)  # what was said of the search itself holds here as well
        noise = random_modules(modules, Path(folder), settings.seed)
        of_noise = adapt(model, noise, shots, settings).adapter
    single = modules[int(best_single(model, modules, shots).argmax())]
    adapter = result.compose(modules)
    adapters: dict[str, Adapter | None] = {
        "plain model": None,
        "best single module": load_adapter(single.folder),
        "random modules": of_noise,
        "adapted": adapter,
    }
    limits = {"max_new_tokens": MOST_NEW_TOKENS, "batch_size": HELD_OUT}
    measured = {who: evaluate(model, held_out, adapter=one, **limits) for who, one in adapters.items()}
    if not quiet:
        print_weights(result)
        shown = held_out[:SHOTS]
        texts = [example.input for example in shown]
        before = generate(model, texts, max_new_tokens=MOST_NEW_TOKENS)
        after = generate(model, texts, adapter=adapter, max_new_tokens=MOST_NEW_TOKENS)
        say("inputs that it has not seen:")
        print_answers(shown, before, after)
        options.print_table(
            [f"on {HELD_OUT} other inputs, %", "exact match", "normalized match"],
            [
                (who, f"{one.exact_match_percent:.1f}", f"{one.normalized_match_percent:.1f}")
                for who, one in measured.items()
            ],
        )
        print_time(result, racing=settings.racing and settings.optimizer == "cma")
        _print_commands(bundle, task, kind, settings, shots, held_out, threads)
    return {
        "task": task.name,
        "modules": kind,
        "seed": settings.seed,
        "optimizer": result.optimizer,
        "composition": settings.chosen_composition,
        "candidates": len(result.trace),
        "seconds": round(result.seconds, 3),
        "loss": {"before": result.loss_before, "after": result.loss_after},
        "weights": result.weights,
        "exact_match_percent": {who: one.exact_match_percent for who, one in measured.items()},
        "normalized_match_percent": {who: one.normalized_match_percent for who, one in measured.items()},
    }


def _print_commands(
    bundle: Path, task: UnseenTask, kind: str, settings: Settings,
    shots: Sequence[Example], held_out: Sequence[Example], threads: int | None,
) -> None:  # fmt: skip
    """The commands that do the same, on files that are written for them beside the bundle."""
    import json

    from platformdirs import user_cache_path

    from ..files.outputs import write_text
    from ..tinyhub.hub import module_parents

    if not bundle.is_relative_to(user_cache_path("edge-lorahub")):
        say("", "The cache cannot be written to, so there is nothing left to try the commands on.")
        return
    learning, other = (bundle.parent / f"{task.name}-{settings.seed}.{part}.jsonl" for part in ("examples", "held-out"))
    try:
        for path, rows in ((learning, shots), (other, held_out)):
            lines = (json.dumps({"input": e.input, "output": e.output}, ensure_ascii=False) for e in rows)
            write_text(path, "".join(f"{line}\n" for line in lines))
    except OSError:
        say("", f"{learning.parent} cannot be written to, so there are no examples to try the commands on.")
        return
    chosen = [f"--optimizer {settings.optimizer}"] if settings.optimizer != "cma" else []
    chosen += [f"--budget {settings.budget}"] if settings.budget is not None else []
    chosen += ["--no-surrogate"] if settings.optimizer == "cma" and not settings.assisted else []
    chosen += [f"--composition {settings.composition}"] if settings.composition is not None else []
    chosen += [f"--seed {settings.seed}"] if settings.seed != 1 else []
    chosen += [f"--threads {threads}"] if threads is not None else []
    parents = " ".join(f"--modules {_quoted(parent)}" for parent in module_parents(kind))
    say(
        "",
        "The same by hand:",
        f"  edge-lorahub adapt {_quoted(bundle)} {_quoted(learning)} {parents} {' '.join([*chosen, '--out my-task'])}",
        f"  edge-lorahub evaluate {_quoted(bundle)} {_quoted(other)} --adapter my-task",
        "With a model, modules and examples of your own:",
        "  edge-lorahub export google/flan-t5-base flan-t5-base",
        "  edge-lorahub adapt flan-t5-base examples.jsonl --module DIR --module DIR --out my-task",
    )


def _quoted(path: Path) -> str:
    """A path as a shell takes it, from the home folder on where it lies there."""
    import shlex

    try:
        return f"~/{shlex.quote(str(path.relative_to(Path.home())))}"
    except (ValueError, RuntimeError):
        return shlex.quote(str(path))
