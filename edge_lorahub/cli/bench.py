"""`edge-lorahub bench`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..contract import PRECISIONS
from . import options
from .main import COMMANDS
from .printable import say, say_json

if TYPE_CHECKING:
    from ..bench.report import Report

F = TypeVar("F", bound=Callable[..., Any])


@click.group(short_help=COMMANDS["bench"][1])
def command() -> None:
    """Measure speed and memory, or how well tasks are learned."""


def _work(function: F) -> F:
    return click.option(
        "--work",
        type=click.Path(path_type=Path),
        help="Work in this folder, keep what is made, and use what is in it again.",
    )(function)


def _size(function: F) -> F:
    return click.option(
        "--size", default="flan-t5-small", show_default=True, help="A published model's name; or small, base, large."
    )(function)


def _modules(function: F) -> F:
    for option in (
        click.option("--rank", default=16, show_default=True, type=click.IntRange(1), help="Their rank."),
        click.option("--modules", default=20, show_default=True, type=click.IntRange(1), help="LoRA modules."),
    ):
        function = option(function)
    return function


def _examples(function: F) -> F:
    for option in (
        click.option("--length", default=70, show_default=True, type=click.IntRange(2), help="Tokens of an input."),
        click.option("--examples", default=5, show_default=True, type=click.IntRange(1), help="Examples."),
    ):
        function = option(function)
    return function


def _output(function: F) -> F:
    chart = click.option(
        "--chart", type=click.Path(path_type=Path), help="Draw a chart too: .svg, .png or .pdf (needs the extra bench)."
    )
    return options.as_json(chart(function))


@command.command("adapt")
@_size
@_modules
@_examples
@click.option("--budget", default=40, show_default=True, type=click.IntRange(1), help="Candidates to evaluate.")
@click.option(
    "--composition",
    type=click.Choice(["exact", "paper"]),
    default="exact",
    show_default=True,
    help="How weights and modules make an adapter.",
)
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True, help="Of the exported model."
)
@_work
@options.threads
@_output
def adapt(
    size: str, modules: int, rank: int, examples: int, length: int, budget: int, composition: str,
    precision: str, work: Path | None, threads: int | None, as_json: bool, chart: Path | None,
) -> None:  # fmt: skip
    """Measure an adaptation at a real model's size, with random weights.

    Makes a checkpoint and modules of the exact dimensions, exports, checks that the exported model with a
    one-hot w equals that module (int8: that it orders candidates as fp32 does), and then measures `adapt` in a
    process of its own: seconds a candidate, the whole run, its peak memory, and the share of what the machine's
    matrix products could do.
    """
    from ..bench.adaptation import measure
    from ..bench.load import Load

    load = Load(size, modules, rank, examples, length, budget, composition, precision)
    _print(chart, as_json, lambda: measure(load, work, threads))


@command.command("latency")
@click.argument("bundle", type=options.BUNDLE)
@click.option(
    "--length",
    "lengths",
    multiple=True,
    default=[16, 70, 256],
    show_default=True,
    type=click.IntRange(2),
    help="Tokens of a text; may be given several times.",
)
@click.option(
    "--batch-size",
    "batch_sizes",
    multiple=True,
    default=[1, 5],
    show_default=True,
    type=click.IntRange(1),
    help="Texts at once; may be given several times.",
)
@click.option(
    "--threads",
    multiple=True,
    type=click.IntRange(1),
    help="Threads; may be given several times.  [default: 1, and all processors]",
)
@_modules
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(1), help="How often each is measured.")
@_output
def latency(
    bundle: Path, lengths: tuple[int, ...], batch_sizes: tuple[int, ...], threads: tuple[int, ...], modules: int,
    rank: int, rounds: int, as_json: bool, chart: Path | None,
) -> None:  # fmt: skip
    """Measure a bundle: first token, every token, and a candidate with its parts.

    Percentiles in milliseconds, over lengths, batch sizes and threads, on random texts and random modules in
    memory. A candidate's parts are measured one at a time: composing (its share of a generation's), encoding and
    decoding (on one thread), and the optimiser's own work.
    """
    from ..bench.latency import latency as measure
    from ..session import default_threads

    counts = threads or sorted({1, default_threads()})
    _print(chart, as_json, lambda: measure(
        bundle, threads=counts, lengths=lengths, batch_sizes=batch_sizes, modules=modules, rank=rank, rounds=rounds
    ))  # fmt: skip


@command.command("peers")
@_size
@_modules
@_examples
@click.option("--budget", default=40, show_default=True, type=click.IntRange(1), help="Candidates to evaluate.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="How often each is measured.")
@click.option("--whole-rounds", default=2, show_default=True, type=click.IntRange(1), help="The same, whole runs.")
@_work
@options.threads
@_output
def peers(
    size: str, modules: int, rank: int, examples: int, length: int, budget: int, rounds: int, whole_rounds: int,
    work: Path | None, threads: int | None, as_json: bool, chart: Path | None,
) -> None:  # fmt: skip
    """Measure others at the same work, in turn: needs the extra bench.

    lorahub 0.1.0 on torch and peft (a candidate and a whole adaptation), transformers, optimum and CTranslate2
    (generation), with random weights of the exact dimensions. Times are printed only if the answers agree.
    """
    import tempfile

    from ..bench.load import Load
    from ..bench.peers import peers as measure
    from ..session import default_threads

    load = Load(size, modules, rank, examples, length, budget)
    with tempfile.TemporaryDirectory(prefix="edge-lorahub-bench-") as folder:
        place = Path(folder) if work is None else work
        _print(chart, as_json, lambda: measure(load, place, threads or default_threads(), rounds, whole_rounds))


@command.command("roofline")
@_size
@_modules
@_examples
@options.threads
@_output
def roofline(
    size: str, modules: int, rank: int, examples: int, length: int, threads: int | None, as_json: bool,
    chart: Path | None,
) -> None:  # fmt: skip
    """Measure what this machine could do: matrix products at a model's shapes, and memory.

    The products of one candidate alone, through ONNX Runtime, in fp32 and int8, and the bandwidth of reading, with
    what composing modules reaches of it: more than 1 where candidates share what is read, or int8 is read.
    """
    from ..bench.load import Load
    from ..bench.roofline import roofline as measure
    from ..session import default_threads

    load = Load(size, modules, rank, examples, length)
    _print(chart, as_json, lambda: measure(load, threads or default_threads()))


def _print(chart: Path | None, as_json: bool, measure: Callable[[], Report]) -> None:
    """Measures and prints; a chart that could not be written is refused before."""
    from ..bench.report import check_chart, write_chart

    if chart is not None:
        check_chart(chart)
    report = measure()
    if chart is not None:
        write_chart(report, chart)
    if as_json:
        say_json(report.as_json())
        return
    options.print_table(["", "value"], [(name, str(value)) for name, value in report.facts.items()])
    for title, rows in report.tables.items():
        say(title)
        options.print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


@command.command("tinyhub")
@click.option("--part", "parts", multiple=True, type=click.Choice(["dev", "test"]), help="Only these unseen tasks.")
@click.option(
    "--modules", "kinds", multiple=True, type=click.Choice(["clean", "entangled", "both"]), help="Only these modules."
)
@click.option(
    "--seeds", default=5, show_default=True, type=click.IntRange(1), help="Draws of the five examples: 1 to this."
)
@click.option("--only", default="", metavar="TEXT", help="Only the methods with this in their name, as surrogate.")
@click.option("--processes", default=2, show_default=True, type=click.IntRange(1, 64), help="Problems at once.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the tables to this file as well.")
@options.as_json
def tinyhub(
    parts: tuple[str, ...],
    kinds: tuple[str, ...],
    seeds: int,
    only: str,
    processes: int,
    markdown: Path | None,
    as_json: bool,
) -> None:
    """Measure how well tasks are learned, on the embedded hub.

    Exact match on 200 held-out inputs of every unseen task, after learning from five examples, for the plain
    model, controls, both compositions, and three searches at several budgets.
    """
    from rich.console import Console
    from rich.progress import Progress

    from ..bench.quality import PARTS, solve_all, tables
    from ..demo_bundle import base_bundle
    from ..files import check_output_file, write_text

    if markdown is not None:
        check_output_file(markdown)
    parts, kinds = parts or ("dev", "test"), kinds or ("clean", "entangled", "both")
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        total = len(kinds) * seeds * sum(len(PARTS[part]) for part in parts)
        task = progress.add_task("problems", total=total)
        found = solve_all(
            base_bundle(), parts, kinds, range(1, seeds + 1), processes, lambda _: progress.advance(task), only
        )
    if markdown is not None:
        write_text(markdown, tables(found))
    if as_json:
        say_json({f"{part}, {kind}": rows for (part, kind), rows in found.items()})
        return
    for (part, kind), rows in found.items():
        say(f"{part} tasks, {kind} modules")
        options.print_table(
            ["exact match, %", "mean", "least", "most"],
            [
                (method, *(f"{value:.1f}" for value in (sum(a) / len(a), min(a), max(a))))
                for method, a in ((method, list(tasks.values())) for method, tasks in rows.items())
            ],
        )
