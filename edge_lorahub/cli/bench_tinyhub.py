"""`edge-lorahub bench tinyhub`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options
from .kept_cells import keeping, resumable
from .printable import say, say_json

# Where finished cells are until all is printed, unless a file is named.
_CELLS = Path("tinyhub.cells.jsonl")


@click.command("tinyhub")
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
@resumable(_CELLS)
@options.as_json
def tinyhub(
    parts: tuple[str, ...], kinds: tuple[str, ...], seeds: int, only: str, processes: int, markdown: Path | None,
    file: Path | None, resume: bool, as_json: bool,
) -> None:  # fmt: skip
    """Measure how well tasks are learned, on the embedded hub.

    Exact match on 200 held-out inputs of every unseen task, after learning from five examples, for the plain
    model, controls, both compositions, and three searches at several budgets. A run that was ended goes on with
    --resume; so does one that is to have more tasks, seeds or methods, if its cells were kept in a file.
    """
    from rich.console import Console
    from rich.progress import Progress

    from ..bench.quality_table import FIELDS, PARTS, cell_settings, chosen, is_percent, measure_all, tables
    from ..files.outputs import check_output_file, write_text
    from .demo_bundle import base_bundle

    if markdown is not None:
        check_output_file(markdown)
    # each once, however often it is named
    parts, kinds = tuple(dict.fromkeys(parts or PARTS)), tuple(dict.fromkeys(kinds or ("clean", "entangled", "both")))
    names = chosen(only)
    bundle = base_bundle()
    settings = cell_settings(bundle)
    with keeping(file or _CELLS, FIELDS, settings, is_percent, resume=resume, named=file is not None) as cells:
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            total = len(kinds) * seeds * len(names) * sum(len(PARTS[part]) for part in parts)
            task = progress.add_task("cells", total=total)
            found = measure_all(
                bundle, parts, kinds, range(1, seeds + 1), names, cells, processes,
                lambda count: progress.advance(task, count),
            )  # fmt: skip
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
