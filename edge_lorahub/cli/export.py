"""`edge-lorahub export`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options
from .main import COMMANDS


@click.command(short_help=COMMANDS["export"][1])
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--slots",
    default="q,v",
    show_default=True,
    metavar="KINDS",
    help="The linear layers that can take a LoRA, of q,k,v,o,wi,wi_0,wi_1,wo; what the modules were trained on.",
)
@click.option("--revision", help="The revision of a Hub id: a branch, a tag or a commit.")
@click.option("--verify", is_flag=True, help="Compare the logits with transformers (needs edge-lorahub[optimum]).")
@options.force
def command(source: str, out: Path, slots: str, revision: str | None, verify: bool, force: bool) -> None:
    """Turn a Flan-T5, T5 or mT5 checkpoint into a bundle.

    SOURCE is a local Hugging Face folder or a Hub id, OUT the bundle's folder. PyTorch is not needed.
    """
    import time

    from ..export import export
    from ..export.verify import check_verifiable, verify_bundle

    if verify:
        check_verifiable()
    start = time.perf_counter()
    kinds = [kind.strip() for kind in slots.split(",") if kind.strip()]
    manifest = export(source, out, slots=kinds, revision=revision, force=force)
    size = sum(file.stat().st_size for file in out.iterdir())
    click.echo(
        f"{out}: {manifest.model.base_model} ({manifest.model.family}), {manifest.precision}, "
        f"{len(manifest.slots)} slots ({','.join(manifest.slot_kinds())}), {size / 1e6:.0f} MB, "
        f"{time.perf_counter() - start:.1f} s"
    )
    if verify:
        difference = verify_bundle(source, out, revision)
        click.echo(f"verified against transformers: largest relative difference of the logits {difference:.1e}")
