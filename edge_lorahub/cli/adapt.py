"""`edge-lorahub adapt`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import MissingPathError, SettingsError
from . import options
from .main import COMMANDS

# docs/design.md, "Loss and search": below this CMA-ES was far behind others
_FEW_FOR_CMA = 100

if TYPE_CHECKING:
    from ..adaptation import Learned, Settings
    from ..examples import Example
    from ..modules import Modules
    from ..session import Model


@click.command(short_help=COMMANDS["adapt"][1])
@click.argument("bundle", type=options.BUNDLE)
@click.argument("examples", type=click.Path(path_type=Path))
@click.option("--module", "-m", "sources", multiple=True, metavar="DIR", help="A LoRA module: a PEFT folder or Hub id.")
@click.option(
    "--modules",
    "parents",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="A folder of modules: every PEFT folder in it.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The adapter's folder.")
@click.option("--budget", default=40, show_default=True, help="Candidates to evaluate.")
@click.option("--seed", default=1, show_default=True, help="The optimiser's seed.")
@click.option(
    "--composition",
    type=click.Choice(["exact", "paper"]),
    help="How weights and modules make an adapter.  [default: exact; paper with --optimizer reference]",
)
@click.option(
    "--optimizer",
    default="cma",
    show_default=True,
    help="cma, reference (as the paper's released code), or nevergrad:NAME.",
)
@click.option(
    "--step-size",
    default=0.075,
    show_default=True,
    help="CMA-ES: the first generation's standard deviation, in units of w.",
)
@click.option("--population", default=6, show_default=True, help="CMA-ES: candidates a generation.")
@click.option("--regularization", default=0.05, show_default=True, help="Times mean |w|, added to the loss.")
@click.option("--rank", type=click.IntRange(1), help="Truncate the adapter to this rank, by SVD.")
@click.option("--max-input-tokens", default=2048, show_default=True, help="Longer inputs are cut, with a warning.")
@click.option("--max-output-tokens", default=2048, show_default=True, help="Longer outputs are cut, with a warning.")
@click.option(
    "--racing/--no-racing",
    default=True,
    show_default=True,
    help="Stop candidates that cannot matter any more; the result is the same.",
)
@click.option(
    "--memory-limit",
    type=options.MemorySize(),
    help="Stay below this, by an estimate (800MB, 1.5GB): smaller batches, fewer candidates at once.",
)
@options.data
@options.threads
@options.force
@options.as_json
def command(
    bundle: Path, examples: Path, sources: tuple[str, ...], parents: tuple[Path, ...], out: Path, budget: int,
    seed: int, composition: str | None, optimizer: str, step_size: float, population: int,
    regularization: float, rank: int | None, max_input_tokens: int, max_output_tokens: int,
    racing: bool, memory_limit: int | None, limit: int | None, shuffle_seed: int | None,
    threads: int | None, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Learn a task: find weights for LoRA modules from a few examples.

    EXAMPLES is JSONL with "input" and "output" (or "context" and "completion"), or BIG-Bench Hard's JSON.
    The adapter is a PEFT folder that generate, evaluate and peft read.
    """
    from ..adaptation import Settings, load_to_adapt
    from ..adapter import ADAPTER_FILES
    from ..contract import read_manifest
    from ..examples import read_examples
    from ..files import check_output_folder
    from ..memory import plan
    from ..modules import Modules
    from ..search import prepare
    from ..session import default_threads

    settings = Settings(
        optimizer=optimizer, budget=budget, seed=seed, composition=composition, regularization=regularization,
        step_size=step_size, population=population,
        max_input_tokens=max_input_tokens, max_output_tokens=max_output_tokens, racing=racing,
    )  # fmt: skip
    # everything that can be wrong is looked at before the slow part
    check_output_folder(out, force=force, names=ADAPTER_FILES)
    task = read_examples(examples, limit=limit, shuffle_seed=shuffle_seed)
    read_manifest(bundle)
    modules = Modules.load([*sources, *(folder for parent in parents for folder in _modules_in(parent))])
    prepare(settings)
    workers = settings.at_once
    if memory_limit is not None:
        at_most = min(workers, threads or default_threads())
        planned = plan(bundle, list(modules), task, settings, at_most, memory_limit)
        settings, workers = replace(settings, batch_tokens=planned.batch_tokens), planned.workers
    model = load_to_adapt(bundle, task, settings, threads=threads, workers=workers)
    result = learn_with_progress(model, modules, task, settings)
    del model  # the adapter of many modules takes memory of its own
    _warn(result, settings)
    adapter, error = result.compose(modules), None
    if rank is not None:
        adapter, error = adapter.truncated(rank)
    adapter.save(out, force=force)
    if as_json:
        _print_json(result, out, error)
        return
    _print_report(result, settings, len(task))
    if error is not None:
        click.echo(f"truncated to rank {rank}: relative error of the change {error:.2%}; the loss above is before that")
    click.echo(f"adapter: {out}")


def _warn(result: Learned, settings: Settings) -> None:
    from ..search import CMA

    if not any(result.weights.values()):
        click.echo(
            "Warning: no candidate was better than the plain model, so the adapter changes nothing; "
            "try a larger --budget, another --optimizer or other modules",
            err=True,
        )
    elif settings.optimizer == CMA and settings.budget < _FEW_FOR_CMA <= 12 * len(result.weights):
        click.echo(
            f"Warning: CMA-ES learns little about {len(result.weights)} weights from {settings.budget} candidates; "
            "--budget 200, or --optimizer nevergrad:NGOpt, did better where it was measured (docs/design.md)",
            err=True,
        )


def _modules_in(parent: Path) -> list[Path]:
    from ..peft_config import CONFIG

    if not parent.is_dir():
        raise MissingPathError(f"{parent}: no such folder of modules")
    if (parent / CONFIG).is_file():
        raise SettingsError(f"{parent}: a module itself, not a folder of modules; name it with --module")
    folders = sorted(file.parent for file in parent.glob(f"*/{CONFIG}"))
    if not folders:
        raise SettingsError(f"{parent}: no module in it (no folder with {CONFIG})")
    return folders


def learn_with_progress(model: Model, modules: Modules, examples: list[Example], settings: Settings) -> Learned:
    """The search, with a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ..adaptation import learn

    columns = (
        TextColumn("candidates"), BarColumn(), MofNCompleteColumn(),
        TextColumn("best loss {task.fields[best]}"), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=settings.budget, best="-")
        best = float("inf")

        def on_candidate(loss: float) -> None:
            nonlocal best
            best = min(best, loss)
            progress.update(task, advance=1, best=f"{best:.4f}")

        return learn(model, modules, examples, settings, on_candidate=on_candidate)


def _print_report(result: Learned, settings: Settings, examples: int) -> None:
    from ..search import REFERENCE

    rows = sorted(result.weights.items(), key=lambda item: -abs(item[1]))
    click.echo(
        f"{_count(len(rows), 'module')}, {_count(examples, 'example')}, {_count(len(result.trace), 'candidate')}, "
        f"{result.optimizer}, {settings.composition} composition"
    )
    options.print_table(["module", "weight"], [(name, f"{weight:+.3f}") for name, weight in rows])
    kind = "loss, as the released code counts it" if settings.optimizer == REFERENCE else "loss"
    losses = f"{result.loss_before:.4f}", f"{result.loss_after:.4f}"
    options.print_table(["", "plain model", "adapted"], [(kind, *losses)])
    spared = f", {result.record['spared']:.0%} of the work spared by racing" if settings.racing else ""
    click.echo(f"{result.seconds:.1f} s, {result.seconds / len(result.trace):.3f} s a candidate{spared}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _print_json(result: Learned, out: Path, error: float | None) -> None:
    import json

    record = dict(result.record) | {"adapter": str(out)}
    if error is not None:
        record["truncation_error"] = error
    click.echo(json.dumps(record, ensure_ascii=False))
