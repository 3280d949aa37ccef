"""`edge-lorahub export`."""

from __future__ import annotations

from pathlib import Path

import click

from ..bundle.architectures import PRECISIONS
from . import options
from .main import COMMANDS
from .printable import say


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
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="int8: the base's matrices in eight bits, a quarter of the size and faster; modules too, while adapting.",
)
@click.option(
    "--check/--no-check",
    default=True,
    help="With int8: compare candidates' losses with those of an fp32 export, made beside OUT for the purpose.",
)
@click.option(
    "--check-module",
    "check_modules",
    multiple=True,
    metavar="DIR|ID",
    help="Compare with this module, not with random ones; may be repeated.",
)
@click.option(
    "--check-examples",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Compare on these examples, not on random texts.",
)
@click.option("--revision", help="The revision of a Hub id: a branch, a tag or a commit.")
@click.option(
    "--verify",
    is_flag=True,
    help="Compare the logits with transformers, and leave no bundle where they differ (needs edge-lorahub[optimum]).",
)
@options.force
def command(
    source: str, out: Path, slots: str, precision: str, check: bool, check_modules: tuple[str, ...],
    check_examples: Path | None, revision: str | None, verify: bool, force: bool,
) -> None:  # fmt: skip
    """Turn a Flan-T5, T5 or mT5 checkpoint into a bundle.

    SOURCE is a local Hugging Face folder or a Hub id, OUT the bundle's folder. PyTorch is not needed.

    With --precision int8 the losses of some candidates (in exact composition) are compared with those of an fp32
    export, and a warning says so when their order is not kept; this takes the time of the export and of some
    candidates, and the memory of an fp32 model. Give your own modules and examples for a comparison that means
    something for them.
    """
    import time
    import warnings

    from ..errors import EdgeLorahubWarning, SettingsError
    from ..examples.example import read_examples
    from ..export import export
    from ..export.checks.agreement import LEAST_CORRELATION, check_export
    from ..export.checks.oracle import check_installed
    from ..export.checks.verify import verify_bundle
    from ..lora.modules import Modules

    check = check and precision != "fp32"
    if not check and (check_modules or check_examples):
        raise SettingsError("--check-module and --check-examples are for the check of --precision int8")
    modules = Modules.load(check_modules) if check_modules else None
    examples = read_examples(check_examples) if check_examples else []
    differences: list[float] = []

    def compare(folder: Path) -> None:
        differences.append(verify_bundle(source, folder, revision))

    against = check_installed() if verify else ""
    start = time.perf_counter()
    kinds = [kind.strip() for kind in slots.split(",") if kind.strip()]
    manifest = export(
        source, out, slots=kinds, precision=precision, revision=revision, force=force,
        check=compare if verify else None,
    )  # fmt: skip
    size = sum(file.stat().st_size for file in out.iterdir())
    say(
        f"{out}: {manifest.model.base_model} ({manifest.model.family}), {manifest.precision}, "
        f"{len(manifest.slots)} slots ({','.join(manifest.kinds())}), {size / 1e6:.0f} MB, "
        f"{time.perf_counter() - start:.1f} s"
    )
    if check:
        agreement = check_export(source, out, modules, examples, revision=revision)
        what = "" if modules and examples else " (random modules or texts)"
        say(f"{precision} against fp32{what}: {agreement}")
        if agreement.rank_correlation < LEAST_CORRELATION:
            warnings.warn(
                f"{out}: {precision} does not keep the order of candidates (rank correlation "
                f"{agreement.rank_correlation:.3f}, expected {LEAST_CORRELATION} or more), so a search may choose "
                + (
                    "others"
                    if modules and examples
                    else "others; compare with your own --check-module and --check-examples"
                )
                + "; --precision fp32 is exact",
                EdgeLorahubWarning,
                stacklevel=1,
            )
    for difference in differences:
        say(f"verified against {against}: largest relative difference of the logits {difference:.1e}")
