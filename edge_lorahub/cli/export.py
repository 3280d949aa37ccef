"""`edge-lorahub export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ..bundle.architectures import PRECISIONS
from ..errors import SettingsError
from . import options
from .agreement_report import report_agreement
from .main import COMMANDS
from .printable import say


@click.command(short_help=COMMANDS["export"][1])
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--slots",
    metavar="KINDS",
    help="The linear layers that can take a LoRA; what the modules were trained on. T5: of q,k,v,o,wi,wi_0,wi_1,wo, "
    "by default q,v. Decoder-only models: of q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj, by default all.",
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
@click.option(
    "--chat-template",
    metavar="NAME|FILE|none",
    help="Of several chat templates the one to take, a Jinja file instead, or none at all.  [default: the model's]",
)
@click.option(
    "--template-argument",
    "template_arguments",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable for the chat template, as enable_thinking=false; may be repeated.",
)
@click.option(
    "--adapter",
    metavar="DIR|ID",
    help="Add this adapter to the weights, before they are quantized: the bundle's plain model then answers with it.",
)
@click.option("--revision", help="The revision of a Hub id: a branch, a tag or a commit.")
@click.option(
    "--verify",
    is_flag=True,
    help="Compare the logits with transformers, and leave no bundle where they differ (needs edge-lorahub[verify]).",
)
@options.force
def command(
    source: str, out: Path, slots: str | None, precision: str, check: bool, check_modules: tuple[str, ...],
    check_examples: Path | None, chat_template: str | None, template_arguments: tuple[str, ...], adapter: str | None,
    revision: str | None, verify: bool, force: bool,
) -> None:  # fmt: skip
    """Turn a checkpoint into a bundle: T5, Llama, Mistral, Qwen, Gemma, Granite.

    The families are t5 (T5, Flan-T5), mt5, llama (SmolLM2, TinyLlama, Llama 3 too), mistral, qwen2 (2.5 too), qwen3,
    gemma, gemma2, gemma3_text and granite, by model_type in config.json.

    SOURCE is a local Hugging Face folder, a Hub id, or a GGUF file (which needs edge-lorahub[gguf]); OUT is the
    bundle's folder. PyTorch is not needed.

    With --precision int8 the losses of some candidates (in exact composition) are compared with those of an fp32
    export, and a warning says so when their order is not kept; this takes the time of the export and of some
    candidates, and the memory of an fp32 model. Give your own modules and examples for a comparison that means
    something for them.
    """
    import time

    from ..composition.adapter import load_adapter
    from ..examples.example import read_examples
    from ..export import export
    from ..export.checks.agreement import check_export
    from ..export.checks.oracle import check_installed
    from ..export.checks.verify import verify_bundle
    from ..lora.modules import Modules

    check = check and precision != "fp32"
    if not check and (check_modules or check_examples):
        raise SettingsError("--check-module and --check-examples are for the check of --precision int8")
    modules = Modules.load(check_modules) if check_modules else None
    examples = read_examples(check_examples) if check_examples else []
    merged = None if adapter is None else load_adapter(adapter)
    differences: list[float] = []

    def compare(folder: Path) -> None:
        differences.append(verify_bundle(source, folder, revision, merged))

    against = check_installed() if verify else ""
    start = time.perf_counter()
    kinds = None if slots is None else [kind.strip() for kind in slots.split(",") if kind.strip()]
    manifest = export(
        source, out, slots=kinds, precision=precision, chat_template=chat_template,
        template_arguments=_arguments(template_arguments), adapter=merged, revision=revision, force=force,
        check=compare if verify else None,
    )  # fmt: skip
    size = sum(file.stat().st_size for file in out.iterdir())
    say(
        f"{out}: {manifest.model.base_model} ({manifest.model.family}), {manifest.precision}, "
        f"{len(manifest.slots)} slots ({','.join(manifest.kinds())}), {size / 1e6:.0f} MB, "
        f"{time.perf_counter() - start:.1f} s"
    )
    if merged is not None:
        say(f"{adapter} is merged into its weights")
    if check:
        agreement = check_export(source, out, modules, examples, adapter=merged, revision=revision)
        own = bool(modules and examples)
        advice = "" if own else "compare with your own --check-module and --check-examples; "
        report_agreement(out, precision, agreement, own=own, advice=f"{advice}--precision fp32 is exact")
    for difference in differences:
        say(f"verified against {against}: largest relative difference of the logits {difference:.1e}")


def _arguments(given: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE each, the value as JSON has it where it is JSON, else as a text."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise SettingsError(f"--template-argument {text!r:.80}: write NAME=VALUE, as enable_thinking=false")
        if name in found:
            raise SettingsError(f"--template-argument {name} is given twice")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
