"""`edge-lorahub bench`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options
from .main import COMMANDS


@click.group(short_help=COMMANDS["bench"][1])
def command() -> None:
    """Measure speed and memory; the answers are checked before anything is timed."""


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
    "--work",
    type=click.Path(path_type=Path),
    help="Keep the checkpoint, bundle and modules in this folder, and use them again.",
)
@options.threads
@options.as_json
def adapt(
    size: str, modules: int, rank: int, examples: int, length: int, budget: int, composition: str,
    work: Path | None, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure an adaptation at a real model's size, with random weights.

    Makes a checkpoint and modules of the exact dimensions, exports, checks that the exported model with a
    one-hot w equals that module, and then measures `adapt` in a process of its own: seconds a candidate,
    the whole run, and its peak memory.
    """
    import json

    from ..bench.adaptation import Load, measure

    load = Load(size, modules, rank, examples, length, budget, composition)
    facts = measure(load, work, threads)
    if as_json:
        click.echo(json.dumps(facts))
    else:
        options.print_table(["", "value"], [(name, str(value)) for name, value in facts.items()])
