"""`edge-lorahub bake`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options
from .main import COMMANDS
from .printable import say


@click.command(short_help=COMMANDS["bake"][1])
@click.argument("bundle", type=options.BUNDLE)
@click.argument("adapter")
@click.argument("out", type=click.Path(path_type=Path))
@options.force
def command(bundle: Path, adapter: str, out: Path, force: bool) -> None:
    """Merge an adapter into a copy of a bundle's weights.

    ADAPTER is what adapt saved, or a LoRA module in any form that adapt takes. The bundle OUT then answers as BUNDLE
    with the adapter does, at the plain model's speed.
    """
    from ..bundle.manifest import read_manifest
    from ..composition.adapter import load_adapter
    from ..convert.bake import bake

    bake(bundle, load_adapter(adapter, read_manifest(bundle)), out, force=force)
    say(f"{out}: {bundle} with {adapter} merged into its weights")
