"""`edge-lorahub inspect`."""

from __future__ import annotations

import sys

import click

from . import options
from .main import COMMANDS
from .printable import printable


@click.command(short_help=COMMANDS["inspect"][1])
@click.argument("path")
@click.option("--check", is_flag=True, help="Compare a bundle's files with their digests.")
@options.as_json
def command(path: str, check: bool, as_json: bool) -> None:
    """Say what a bundle, module, adapter or checkpoint is.

    PATH is a folder, or the Hub id of a module.
    """
    import json

    from ..inspection import inspect

    facts = inspect(path, check=check)
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=sys.stdout.isatty()))
        return
    weights = facts.pop("weights", {}) if facts["kind"] == "adapter" else {}
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:{width}}  {printable(str(value))}")
    if weights:
        rows = sorted(weights.items(), key=lambda item: -abs(item[1]))
        options.print_table(["module", "weight"], [(name, f"{weight:+.3f}") for name, weight in rows])
