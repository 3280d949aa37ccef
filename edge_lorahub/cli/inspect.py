"""`edge-lorahub inspect`."""

from __future__ import annotations

import click

from . import options
from .main import COMMANDS
from .printable import say, say_json


@click.command(short_help=COMMANDS["inspect"][1])
@click.argument("path")
@click.option("--check", is_flag=True, help="Compare a bundle's files with their digests.")
@options.as_json
def command(path: str, check: bool, as_json: bool) -> None:
    """Say what a bundle, module, adapter or checkpoint is.

    PATH is a folder, or the Hub id of a module. Of a comparison it says how it is shown, or gone on with.
    """
    from ..inspection import inspect

    facts = inspect(path, check=check)
    if as_json:
        say_json(facts)
        return
    weights = facts.pop("weights", {}) if facts["kind"] == "adapter" else {}
    width = max(map(len, facts))
    for name, value in facts.items():
        say(f"{name:{width}}  {value}")
    if weights:
        rows = sorted(weights.items(), key=lambda item: -abs(item[1]))
        options.print_table(["module", "weight"], [(name, f"{weight:+.3f}") for name, weight in rows])
