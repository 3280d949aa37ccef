"""`edge-lorahub convert`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import SettingsError
from . import options
from .agreement_report import report_agreement
from .main import COMMANDS
from .printable import count_of, say
from .truncation import truncated

if TYPE_CHECKING:
    from ..composition.adapter import Adapter


@dataclass(frozen=True)
class _Form:
    """What a form is made of: needs are options that it cannot do without, takes those that it may have."""

    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


_SMALLER = ("rank", "bundle", "examples")
_FORMS = {
    "peft": _Form(takes=_SMALLER),
    "onnx-adapter": _Form(needs=("bundle",), takes=("rank", "examples")),
    "checkpoint": _Form(needs=("base",), takes=("revision", "dtype")),
    "bundle": _Form(needs=("bundle",), takes=("base", "revision", "examples")),
    "optimum": _Form(needs=("base",), takes=("revision",)),
    "gguf-lora": _Form(takes=("base", "revision", *_SMALLER)),
}


@click.command(short_help=COMMANDS["convert"][1])
@click.argument("adapter")
@click.option("--to", "form", type=click.Choice(list(_FORMS)), required=True, help="What to make of it.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="The folder to make.")
@click.option("--bundle", type=options.BUNDLE, metavar="DIR", help="The bundle that it is for.")
@click.option("--base", metavar="DIR|ID", help="The checkpoint that it is for: a Hugging Face folder or a Hub id.")
@click.option("--revision", help="The revision of --base on the Hub: a branch, a tag or a commit.")
@click.option("--rank", type=click.IntRange(1), help="Truncate the adapter by SVD, and say what that loses.")
@click.option(
    "--examples",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --rank and --bundle: the loss on these before and after. With an int8 bundle: check it on these.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32"]),
    help="Of a checkpoint: write all of it in float32; coarser dtypes round the change.  [default: as --base has it]",
)
@options.force
def command(
    adapter: str, form: str, out: Path, bundle: Path | None, base: str | None, revision: str | None, rank: int | None,
    examples: Path | None, dtype: str | None, force: bool,
) -> None:  # fmt: skip
    """Turn an adapter into what other programs take: peft, ONNX Runtime, llama.cpp.

    ADAPTER is what adapt saved, or a LoRA module in any form that adapt takes.

    \b
    - peft: a plain PEFT folder, with --rank a smaller one
    - onnx-adapter: ONNX Runtime's .onnx_adapter files, for the graphs of --bundle
    - checkpoint: a Hugging Face folder, --base with the adapter in its weights
    - bundle: --bundle with the adapter in its weights; in int8 made anew from --base
    - optimum: ONNX files of --base with the adapter in it, as optimum writes them
    - gguf-lora: a LoRA for llama.cpp, for the model of --bundle or --base
    """
    from ..composition.adapter import load_adapter
    from ..convert.converted_folder import check_converted

    given = {
        "bundle": bundle, "base": base, "revision": revision, "rank": rank, "examples": examples, "dtype": dtype,
    }  # fmt: skip
    _check(form, given)
    inputs = [adapter, *(each for each in (bundle, base, examples) if each is not None)]
    # a bundle has a record of its own
    path = out if form == "bundle" else check_converted(out, inputs, force=force)
    manifest = None
    if bundle is not None:
        from ..bundle.manifest import read_manifest

        manifest = read_manifest(bundle)
    loaded = load_adapter(adapter, manifest)
    facts: dict[str, Any] = {}
    if rank is not None:
        loaded, facts = _truncated(loaded, rank, bundle, examples)
    _WRITERS[form](loaded, path, given, facts, force)


def _check(form: str, given: Mapping[str, object]) -> None:
    """Refuses options that a form has no use for, and asks for those that it needs."""
    known = _FORMS[form]
    for name in known.needs:
        if given[name] is None:
            raise SettingsError(f"--to {form} needs --{name}, the {_WHAT[name]} that the adapter is for")
    for name, value in given.items():
        if value is not None and name not in (*known.needs, *known.takes):
            raise SettingsError(f"--to {form} has no use for --{name}; leave it out")
    if form == "gguf-lora" and (given["bundle"] is None) == (given["base"] is None):
        raise SettingsError("--to gguf-lora needs one of --bundle and --base, the model that the adapter is for")
    if given["revision"] is not None and given["base"] is None:
        raise SettingsError("--revision is of --base, which is not given")
    if form != "bundle" and given["examples"] is not None and None in (given["rank"], given["bundle"]):
        raise SettingsError("--examples measures what --rank loses, with --bundle; give both")
    if form == "bundle" and given["examples"] is not None and given["base"] is None:
        raise SettingsError("--examples checks what --base is quantized to, which is not given")
    if form == "peft" and given["bundle"] is not None and given["examples"] is None:
        raise SettingsError("--to peft takes --bundle to measure the loss on --examples, which are not given")


_WHAT = {"bundle": "bundle", "base": "checkpoint"}


def _truncated(
    adapter: Adapter, rank: int, bundle: Path | None, examples: Path | None
) -> tuple[Adapter, dict[str, Any]]:
    """The truncated adapter, and what is known of what that loses."""
    from ..examples.example import read_with_system

    read = None if examples is None else read_with_system(examples)
    smaller, error, said = truncated(adapter, rank)
    say(said)
    facts: dict[str, Any] = {} if smaller is adapter else {"rank": rank, "relative_error": error}
    if bundle is None or examples is None or read is None:
        if smaller is not adapter:
            say("what that does to the loss is not known without --bundle and --examples")
        return smaller, facts
    from ..runtime.adapter_loss import adapter_loss
    from ..runtime.prompt_choice import choose_prompt
    from ..runtime.session import load
    from .system_text import place_system

    model = load(bundle)
    prompt = choose_prompt(model.bundle, adapter=adapter)
    task, prompt = place_system(examples, *read, model.bundle, prompt, None)
    after = adapter_loss(model, smaller, task, prompt)
    if smaller is adapter:
        say(f"loss on {len(task)} examples: {after:.4f}")
        return smaller, facts
    before = adapter_loss(model, adapter, task, prompt)
    say(f"loss on {len(task)} examples: {after:.4f} as it is written, {before:.4f} before the truncation")
    return smaller, facts | {"loss": after, "loss_before_truncation": before}


def _peft(adapter: Adapter, out: Path, given: Mapping[str, Any], facts: Mapping[str, Any], force: bool) -> None:
    from ..convert.peft_folder import to_peft

    to_peft(adapter, out, force=force, facts=facts)
    ranks = [lora.a.shape[0] for lora in adapter.pairs.values()]
    rank = f"{min(ranks)}" if min(ranks) == max(ranks) else f"{min(ranks)} to {max(ranks)}"
    say(f"{out}: a PEFT folder of {count_of(len(ranks), 'layer')}, rank {rank}")


def _onnx_adapter(adapter: Adapter, out: Path, given: Mapping[str, Any], facts: Mapping[str, Any], force: bool) -> None:
    from ..convert.onnx_adapter import to_onnx_adapter

    names = to_onnx_adapter(adapter, given["bundle"], out, force=force, facts=facts)
    say(f"{out}: {', '.join(names)}, each for the graph of that name in {given['bundle']}")


def _checkpoint(adapter: Adapter, out: Path, given: Mapping[str, Any], facts: Mapping[str, Any], force: bool) -> None:
    from ..export.merged_checkpoint import to_checkpoint

    float32 = given["dtype"] is not None
    to_checkpoint(adapter, given["base"], out, float32=float32, revision=given["revision"], force=force)
    say(f"{out}: {given['base']} with {adapter.name} in its weights")


def _bundle(adapter: Adapter, out: Path, given: Mapping[str, Any], facts: Mapping[str, Any], force: bool) -> None:
    from ..examples.example import read_examples
    from ..export.checks.agreement import check_export
    from ..export.fused_bundle import to_bundle

    examples = [] if given["examples"] is None else read_examples(given["examples"])
    manifest = to_bundle(adapter, given["bundle"], out, base=given["base"], revision=given["revision"], force=force)
    say(f"{out}: {given['bundle']} with {adapter.name} merged into its weights, {manifest.precision}")
    if given["base"] is not None:
        agreement = check_export(given["base"], out, None, examples, adapter=adapter, revision=given["revision"])
        # the modules are random even where the examples are not
        advice = "" if examples else "compare with your own --examples; "
        report_agreement(
            out, manifest.precision, agreement, own=False,
            advice=f"{advice}what the adapter itself answers is not measured by that, and an fp32 --bundle is exact",
        )  # fmt: skip


def _optimum(adapter: Adapter, out: Path, given: Mapping[str, Any], facts: Mapping[str, Any], force: bool) -> None:
    from ..export.optimum_model import to_optimum

    names = to_optimum(adapter, given["base"], out, revision=given["revision"], force=force)
    say(f"{out}: {', '.join(names)}: {given['base']} with {adapter.name} in its weights, as optimum writes it")


def _gguf_lora(adapter: Adapter, out: Path, given: Mapping[str, Any], facts: Mapping[str, Any], force: bool) -> None:
    from ..export.gguf_adapter import FILE, to_gguf_lora

    to_gguf_lora(
        adapter, out, bundle=given["bundle"], base=given["base"], revision=given["revision"], force=force, facts=facts
    )
    say(f"{out / FILE}: a LoRA for llama.cpp's GGUF file of the base")


_WRITERS = {
    "peft": _peft,
    "onnx-adapter": _onnx_adapter,
    "checkpoint": _checkpoint,
    "bundle": _bundle,
    "optimum": _optimum,
    "gguf-lora": _gguf_lora,
}
