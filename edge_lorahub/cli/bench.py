"""`edge-lorahub bench`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..bundle.architectures import PRECISIONS
from . import options
from .bench_tinyhub import tinyhub
from .kept_cells import keeping, resumable
from .main import COMMANDS
from .printable import say, say_json

if TYPE_CHECKING:
    from ..bench.cells import Cells
    from ..bench.report import Report

# Where what was measured is until all is printed, unless a file is named.
_LATENCY_CELLS, _PEERS_CELLS = Path("latency.cells.jsonl"), Path("peers.cells.jsonl")

C = TypeVar("C")
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
        "--size",
        default="flan-t5-small",
        show_default=True,
        help="A published model's name, T5's or a decoder-only one's; or small, base, large.",
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
        click.option(
            "--length",
            default=70,
            show_default=True,
            type=click.IntRange(2),
            help="Tokens of an input. Of a decoder-only model those of the shortest: others have up to three times "
            "as many, and all begin with the same half of it, as prompts of one template do.",
        ),
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
    from ..bench.adaptation_time import measure
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
@resumable(_LATENCY_CELLS)
@_output
def latency(
    bundle: Path, lengths: tuple[int, ...], batch_sizes: tuple[int, ...], threads: tuple[int, ...], modules: int,
    rank: int, rounds: int, file: Path | None, resume: bool, as_json: bool, chart: Path | None,
) -> None:  # fmt: skip
    """Measure a bundle: first token, every token, and a candidate with its parts.

    Percentiles in milliseconds, over lengths, batch sizes and threads, on random texts and random modules in
    memory. A candidate's parts are measured one at a time: composing (its share of a generation's), encoding and
    decoding, or scoring where a model has one graph for both (on one thread), and the optimizer's own work.
    """
    from ..bench.latency import FIELDS, Grid, cell_settings, is_cell
    from ..bench.latency import latency as measure
    from ..runtime.session import default_threads

    # each once, however often it is named
    lengths, batch_sizes = tuple(dict.fromkeys(lengths)), tuple(dict.fromkeys(batch_sizes))
    counts = sorted(set(threads or (1, default_threads())))
    grid = Grid(lengths, batch_sizes, modules, rank, rounds)

    def kept() -> AbstractContextManager[Cells]:
        settings = cell_settings(bundle, grid)
        return keeping(file or _LATENCY_CELLS, FIELDS, settings, is_cell, resume=resume, named=file is not None)

    _print_kept(chart, as_json, kept, lambda cells: measure(bundle, counts, grid, cells))


@command.command("peers")
@_size
@_modules
@_examples
@click.option("--budget", default=40, show_default=True, type=click.IntRange(1), help="Candidates to evaluate.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="How often each is measured.")
@click.option("--whole-rounds", default=2, show_default=True, type=click.IntRange(1), help="The same, whole runs.")
@_work
@options.threads
@resumable(_PEERS_CELLS)
@_output
def peers(
    size: str, modules: int, rank: int, examples: int, length: int, budget: int, rounds: int, whole_rounds: int,
    work: Path | None, threads: int | None, file: Path | None, resume: bool, as_json: bool, chart: Path | None,
) -> None:  # fmt: skip
    """Measure others at the same work, in turn: needs the extra bench.

    lorahub 0.1.0 on torch and peft (a candidate and a whole adaptation), transformers, optimum and CTranslate2
    (generation), with random weights of the exact dimensions. Times are printed only if the answers agree. Of a
    decoder-only model: torch and peft (a candidate, with logits of label tokens alone) and transformers.
    """
    import tempfile

    from ..bench.load import Load
    from ..bench.peers import FIELDS, cell_settings
    from ..bench.peers import peers as measure
    from ..bench.report import is_rows
    from ..runtime.session import default_threads

    load = Load(size, modules, rank, examples, length, budget)
    count = threads or default_threads()

    def kept() -> AbstractContextManager[Cells]:
        settings = cell_settings(load, count, rounds, whole_rounds)
        return keeping(file or _PEERS_CELLS, FIELDS, settings, is_rows, resume=resume, named=file is not None)

    with tempfile.TemporaryDirectory(prefix="edge-lorahub-bench-") as folder:
        place = Path(folder) if work is None else work
        _print_kept(
            chart, as_json, kept, lambda cells: measure(load, place, count, rounds, whole_rounds, cells)
        )  # fmt: skip


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
    from ..runtime.session import default_threads

    load = Load(size, modules, rank, examples, length)
    _print(chart, as_json, lambda: measure(load, threads or default_threads()))


def _print(chart: Path | None, as_json: bool, measure: Callable[[], Report]) -> None:
    """Measures and prints; a chart that could not be written is refused before."""
    _print_kept(chart, as_json, nullcontext, lambda _: measure())


def _print_kept(
    chart: Path | None, as_json: bool, kept: Callable[[], AbstractContextManager[C]], measure: Callable[[C], Report]
) -> None:
    """As `_print`, with what was measured kept until all is printed."""
    from ..bench.report import check_chart

    if chart is not None:
        check_chart(chart)
    with kept() as cells:
        _show(measure(cells), chart, as_json)


def _show(report: Report, chart: Path | None, as_json: bool) -> None:
    from ..bench.report import write_chart

    if chart is not None:
        write_chart(report, chart)
    if as_json:
        say_json(report.as_json())
        return
    options.print_table(["", "value"], [(name, str(value)) for name, value in report.facts.items()])
    for title, rows in report.tables.items():
        say(title)
        options.print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


command.add_command(tinyhub)
