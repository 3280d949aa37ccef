"""`edge-lorahub bench`."""

from __future__ import annotations

from pathlib import Path

import click

from ..contract import PRECISIONS
from . import options
from .main import COMMANDS


@click.group(short_help=COMMANDS["bench"][1])
def command() -> None:
    """Measure speed and memory, or how well tasks are learned."""


@command.command("adapt")
@click.option("--size", default="flan-t5-small", show_default=True, help="A published model's name.")
@click.option("--modules", default=20, show_default=True, type=click.IntRange(1), help="LoRA modules.")
@click.option("--rank", default=16, show_default=True, type=click.IntRange(1), help="Their rank.")
@click.option("--examples", default=5, show_default=True, type=click.IntRange(1), help="Examples.")
@click.option("--length", default=70, show_default=True, type=click.IntRange(2), help="Tokens of an input.")
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
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Work in this folder, keep what is made, and use a checkpoint in it again.",
)
@options.threads
@options.as_json
def adapt(
    size: str, modules: int, rank: int, examples: int, length: int, budget: int, composition: str,
    precision: str, work: Path | None, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure an adaptation at a real model's size, with random weights.

    Makes a checkpoint and modules of the exact dimensions, exports, checks that the exported model with a
    one-hot w equals that module (int8: that it orders candidates as fp32 does), and then measures `adapt` in a
    process of its own: seconds a candidate, the whole run, and its peak memory.
    """
    import json

    from ..bench.adaptation import Load, measure

    load = Load(size, modules, rank, examples, length, budget, composition, precision)
    facts = measure(load, work, threads)
    if as_json:
        click.echo(json.dumps(facts))
    else:
        options.print_table(["", "value"], [(name, str(value)) for name, value in facts.items()])


@command.command("tinyhub")
@click.option("--part", "parts", multiple=True, type=click.Choice(["dev", "test"]), help="Only these unseen tasks.")
@click.option(
    "--modules", "kinds", multiple=True, type=click.Choice(["clean", "entangled"]), help="Only these modules."
)
@click.option(
    "--seeds", default=5, show_default=True, type=click.IntRange(1), help="Draws of the five examples: 1 to this."
)
@click.option("--processes", default=2, show_default=True, type=click.IntRange(1, 64), help="Problems at once.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the tables to this file as well.")
@options.as_json
def tinyhub(
    parts: tuple[str, ...], kinds: tuple[str, ...], seeds: int, processes: int, markdown: Path | None, as_json: bool
) -> None:
    """Measure how well tasks are learned, on the embedded hub.

    Exact match on 200 held-out inputs of every unseen task, after learning from five examples, for the plain
    model, controls, both compositions, and two optimisers at three budgets.
    """
    import json

    from rich.console import Console
    from rich.progress import Progress

    from ..bench.quality import PARTS, solve_all, tables
    from ..files import check_output_file, write_text
    from .demo import base_bundle

    if markdown is not None:
        check_output_file(markdown)
    parts, kinds = parts or ("dev", "test"), kinds or ("clean", "entangled")
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        total = len(kinds) * seeds * sum(len(PARTS[part]) for part in parts)
        task = progress.add_task("problems", total=total)
        found = solve_all(base_bundle(), parts, kinds, range(1, seeds + 1), processes, lambda _: progress.advance(task))
    if markdown is not None:
        write_text(markdown, tables(found))
    if as_json:
        click.echo(json.dumps({f"{part}, {kind}": rows for (part, kind), rows in found.items()}))
        return
    for (part, kind), rows in found.items():
        click.echo(f"{part} tasks, {kind} modules")
        options.print_table(
            ["exact match, %", "mean", "least", "most"],
            [
                (method, *(f"{value:.1f}" for value in (sum(a) / len(a), min(a), max(a))))
                for method, a in ((method, list(tasks.values())) for method, tasks in rows.items())
            ],
        )
