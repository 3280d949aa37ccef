"""`edge-lorahub compare`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ..errors import SettingsError
from . import module_sources, options
from .main import COMMANDS
from .printable import count_of, say, say_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..comparison.cell import Cell
    from ..comparison.comparing import Comparison
    from ..comparison.engine import Engine
    from ..comparison.plan import Plan
    from ..comparison.store import Store

_KINDS = ("zero-shot", "few-shot", "best-single", "uniform", "random", "learned")


@click.command(short_help=COMMANDS["compare"][1])
@click.argument("bundle", type=options.BUNDLE)
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@module_sources.named
@module_sources.of_store
@click.option(
    "--count",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="Of more modules than that so many are drawn, with each seed.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="The comparison's folder. What is measured there already is not measured again.",
)
@click.option("--examples", type=click.IntRange(1), default=5, show_default=True, help="Examples to learn a task from.")
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, help="Draws: with the seeds 1 to this.")
@click.option("--limit", type=click.IntRange(1), help="Answer at most so many inputs of a task.  [default: all others]")
@click.option(
    "--metric",
    default="exact",
    show_default=True,
    metavar="exact|normalized|choice|FILE.py:FUNCTION",
    help="What a right answer is: the output to the letter; without capitals, full stops and outer spaces; the most "
    "likely of the task's answers; or what a function of (prediction, example) says: a text, and an Example with "
    ".input and .output.",
)
@click.option(
    "--method", "kinds", multiple=True, type=click.Choice(_KINDS), help="Compare these alone.  [default: all]"
)
@click.option(
    "--optimizer",
    "optimizers",
    multiple=True,
    default=["cma"],
    show_default=True,
    help="A search: cma, reference (as the paper's released code), or nevergrad:NAME. Several are compared.",
)
@click.option(
    "--surrogate/--no-surrogate",
    default=None,
    help="cma: let a surrogate of the label logits propose candidates.  [default: in exact composition]",
)
@click.option(
    "--composition",
    type=click.Choice(["exact", "paper"]),
    help="How searches make an adapter of weights and modules.  [default: exact; paper with --optimizer reference]",
)
@click.option("--budget", type=click.IntRange(1), default=40, show_default=True, help="Candidates of a search.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes.  [default: as processors and memory allow]")
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where processes run: on this machine, or on those of a Ray cluster (extra ray).",
)
@click.option(
    "--address",
    metavar="HOST:PORT|auto|local",
    help="ray: the cluster.  [default: RAY_ADDRESS, else one that runs here, else a new one of this machine alone]",
)
@click.option(
    "--memory-limit",
    type=options.MemorySize(),
    help="local: of all processes together, by an estimate (800MB, 1.5GB).  [default: what is free]",
)
@click.option(
    "--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads of ONNX Runtime, a process."
)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Answers at once.")
@click.option(
    "--max-input-tokens",
    type=click.IntRange(2),
    default=2048,
    show_default=True,
    help="Longer inputs are cut, with a warning.",
)
@click.option(
    "--max-new-tokens", type=click.IntRange(1), help="The longest answer, in tokens.  [default: by the longest output]"
)
@options.prompt
@options.as_json
def command(
    bundle: Path, data: tuple[Path, ...], sources: tuple[str, ...], parents: tuple[Path, ...], hub: bool,
    store: str | None, tags: tuple[str, ...], count: int, out: Path, examples: int, seeds: int, limit: int | None,
    metric: str, kinds: tuple[str, ...], optimizers: tuple[str, ...], surrogate: bool | None, composition: str | None,
    budget: int, jobs: int | None, engine_name: str, address: str | None, memory_limit: int | None, threads: int,
    batch_size: int, max_input_tokens: int, max_new_tokens: int | None, prompt_format: str | None, system: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare what composing gains with prompting, single modules and chance.

    DATA are files of examples as for adapt, a task each, or folders of them; also folders in the layout of the paper's
    released code (zero_shot.jsonl and example.jsonl). For each task and seed some examples are drawn, and the other
    inputs are answered by the plain model, by prompting it with the examples, by the best single module, by all modules
    with equal weights, by weights learned from the examples, and by weights learned for random modules. RUN gets
    table.md for people, results.json for programs, and a file for each task, seed and method: a run that was ended goes
    on with the same command.
    """
    from ..comparison.cell import CellSettings
    from ..comparison.compared_methods import KINDS, make_methods
    from ..comparison.metrics import read_metric
    from ..comparison.plan import Plan
    from ..comparison.store import check_folder, opened
    from ..comparison.task_files import read_tasks
    from ..composition.ancestry import check_records
    from ..files.user_path import user_path
    from ..runtime.opened import OpenBundle
    from ..runtime.prompt_choice import choose_prompt

    module_sources.refuse_idle(hub, parents)
    make_engine = _local(jobs, memory_limit, address) if engine_name == "local" else _ray(jobs, memory_limit, address)
    methods = make_methods(optimizers, composition, budget, surrogate, kinds or KINDS)
    if surrogate is not None and "cma" not in optimizers:
        flag = "--surrogate" if surrogate else "--no-surrogate"
        raise SettingsError(f"{flag} is for --optimizer cma alone; leave it out")
    measure = read_metric(metric)
    check_folder(user_path(out))
    opened_bundle = OpenBundle(bundle)
    prompt = choose_prompt(opened_bundle, prompt_format, system)
    tasks = read_tasks(data)
    needed = any(method.needs_modules for method in methods)
    if not needed:
        _refuse_idle(("sources", "parents", "hub", "count"), "needs modules")
    if not any(method.searches for method in methods):
        _refuse_idle(("optimizers", "surrogate", "composition", "budget"), "searches")
    choice = module_sources.Choice(hub, store, tags, None, 0, None)
    modules = module_sources.modules_of(sources, parents, choice, opened_bundle.manifest)[0] if needed else None
    if modules is not None:
        modules.check(opened_bundle.manifest)
        check_records(modules)
    plan = Plan(
        opened_bundle, tasks, modules or (), methods, range(1, seeds + 1), measure,
        CellSettings(prompt, threads, max_input_tokens, max_new_tokens, batch_size), examples, limit, count,
    )  # fmt: skip
    engine = make_engine(plan)
    with opened(out) as kept:
        found = _compared(plan, kept, engine)
    if as_json:
        say_json(dict(found.results))
        return
    _print(found, out)


def _refuse_idle(names: Sequence[str], does: str) -> None:
    """Refuses options, by their names, that no method of the running command has a use for."""
    context = click.get_current_context()
    given = [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        flags = {option.name: option.opts[0] for option in context.command.params}
        raise SettingsError(f"no method that was asked for {does}; leave {', '.join(flags[n] for n in given)} out")


def _local(jobs: int | None, memory_limit: int | None, address: str | None) -> Callable[[Plan], Engine]:
    from ..comparison.local_engine import LocalEngine
    from ..comparison.process_count import chosen_jobs

    if address is not None:
        raise SettingsError("--address is a Ray cluster's; give --engine ray too")
    return lambda plan: LocalEngine(chosen_jobs(plan, jobs, memory_limit))


def _ray(jobs: int | None, memory_limit: int | None, address: str | None) -> Callable[[Plan], Engine]:
    """Raises MissingDependencyError where Ray is not installed."""
    from ..comparison.process_count import estimated_bytes
    from ..comparison.ray_cluster import check_address, import_ray
    from ..comparison.ray_engine import RayEngine

    if memory_limit is not None:
        raise SettingsError(
            "--memory-limit is for --engine local; what a node of a Ray cluster has is said where it is started, by "
            "`ray start --memory`"
        )
    import_ray()
    check_address(address)
    return lambda plan: RayEngine(estimated_bytes(plan), plan.settings.threads, jobs, address)


def _compared(plan: Plan, store: Store, engine: Engine) -> Comparison:
    """The comparison, with its progress on standard error."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from ..comparison.comparing import compare
    from .live import QUIET

    console = Console(stderr=True)
    told = time.monotonic()
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console,
                  disable=not console.is_terminal) as bar:  # fmt: skip
        row = bar.add_task("cells", total=None)

        def progress(cell: Cell | None, known: int, total: int) -> None:
            nonlocal told
            if cell is None and known:
                say(f"{known} of {count_of(total, 'cell')} known", err=True)
            elif cell is not None and not console.is_terminal and time.monotonic() - told > QUIET:
                told = time.monotonic()
                say(f"{known} of {count_of(total, 'cell')} measured: {cell.name}", err=True)
            bar.update(row, completed=known, total=total)

        return compare(plan, store, engine, progress)


def _print(found: Comparison, out: Path) -> None:
    from ..comparison.markdown_table import cost_rows, gain_rows, summary_rows

    options.print_table(["%", "mean", "best seed", "sd"], summary_rows(found.measured))
    if found.differences:
        options.print_table(
            ["learned", "against", "points", "95 % interval", "better, worse, neither"], gain_rows(found.differences),
            numbers=False,
        )  # fmt: skip
    options.print_table(["cost", "input tokens", "s to learn", "s an answer"], cost_rows(found.measured))
    for sentence in (*found.verdicts, *found.notes):
        say(sentence)
    say(f"comparison: {out} (table.md, results.json)")
