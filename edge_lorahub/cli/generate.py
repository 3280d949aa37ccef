"""`edge-lorahub generate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import options
from .main import COMMANDS, CliError


@click.command(short_help=COMMANDS["generate"][1])
@click.argument("bundle", type=options.BUNDLE)
@click.argument("texts", nargs=-1, metavar="[TEXT ...]")
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path),
    help='Read the texts from a file of examples: "input" of every record, for example.',
)
@options.adapter
@options.decoding
@options.threads
@options.as_json
def command(
    bundle: Path, texts: tuple[str, ...], file: Path | None, adapter: str | None, max_new_tokens: int,
    max_input_tokens: int, batch_size: int, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Answer texts with a bundle, and an adapter if there is one.

    The texts are arguments, a file's, or the lines of standard input. Answers are printed one a line; with
    --json, as {"input", "output"}.
    """
    import json

    from ..examples import read_inputs
    from ..generation import generate

    if texts and file:
        raise CliError("texts as arguments and --file: give one of them")
    if file:
        inputs = read_inputs(file)
    elif texts:
        inputs = list(texts)
    else:
        if sys.stdin.isatty():
            click.echo("reading texts from the terminal, one a line; end with Ctrl-D", err=True)
        inputs = _lines()
    model, loaded = options.load_model(bundle, adapter, threads)
    answers = generate(
        model, inputs, adapter=loaded, max_new_tokens=max_new_tokens, max_input_tokens=max_input_tokens,
        batch_size=batch_size,
    )  # fmt: skip
    for text, answer in zip(inputs, answers, strict=True):
        click.echo(json.dumps({"input": text, "output": answer}, ensure_ascii=False) if as_json else answer)


def _lines() -> list[str]:
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CliError(f"standard input: not UTF-8 text ({error})") from error
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text.strip() else []
    if not lines:
        raise CliError("standard input: no texts; give them as arguments, with --file, or one a line")
    return lines
