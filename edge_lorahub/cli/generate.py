"""`edge-lorahub generate`."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

import click
from click.core import ParameterSource

from . import options
from .main import COMMANDS, CliError
from .printable import printable, say, say_json
from .progress import progress


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
@click.pass_context
def command(
    context: click.Context, bundle: Path, texts: tuple[str, ...], file: Path | None, adapter: str | None,
    max_new_tokens: int, max_input_tokens: int, batch_size: int, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Answer texts with a bundle, and an adapter if there is one.

    The texts are arguments, a file's, or the lines of standard input. Answers are printed one a line; with
    --json, as {"input", "output"}. Lines that come through a pipe or from a terminal are answered one by one as they
    come, or as many at once as --batch-size says, which takes less time for all. On a terminal the answer to a single
    text is shown while it is made.
    """

    from ..examples.example import read_inputs
    from ..runtime.generation import generate_with, runner_for, stream_with

    if texts and file:
        raise CliError("texts as arguments and --file: give one of them")
    # what can be wrong is looked at before the slow part
    given = read_inputs(file) if file else list(texts)
    model, loaded = options.load_model(bundle, adapter, threads)
    if not given and sys.stdin is None:
        raise CliError("standard input is closed; give the texts as arguments or with --file")
    if not given and sys.stdin.isatty():
        say("reading texts from the terminal, one a line; end with Ctrl-D", err=True)
    at_once = batch_size if context.get_parameter_source("batch_size") is not ParameterSource.DEFAULT else 1
    runner = runner_for(model, loaded)
    number = 1
    for group in [given] if given else _groups(at_once):
        limits = {"max_new_tokens": max_new_tokens, "max_input_tokens": max_input_tokens, "first": number}
        number += len(group)
        if len(group) == 1 and sys.stdout.isatty() and not as_json:
            for piece in stream_with(runner, group[0], **limits):
                click.echo(printable(piece, lines=True), nl=False)
            click.echo()
            continue
        with progress("texts", len(group), batch_size) as on_answers:
            answers = generate_with(runner, group, batch_size=batch_size, on_answers=on_answers, **limits)
        for text, answer in zip(group, answers, strict=True):
            if as_json:
                say_json({"input": text, "output": answer})
            else:
                # a program gets the answer as it is
                click.echo(printable(answer, lines=True) if sys.stdout.isatty() else answer)


def _groups(at_once: int) -> Iterator[list[str]]:
    """The lines of standard input: so many at once as they come, or all of a file that it was redirected from."""
    lines = _lines(sys.stdin.buffer)
    size = None if _is_file(sys.stdin) else at_once
    empty = True
    while group := list(islice(lines, size)):
        empty = False
        yield group
    if empty:
        raise CliError("standard input: no texts; give them as arguments, with --file, or one a line")


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:  # no file at all, as in tests
        return False


def _lines(stream: Iterable[bytes]) -> Iterator[str]:
    """Every line, each when it comes; but empty ones at the start with the first text, and without one not at all."""
    waiting: list[str] = []
    begun = False
    for number, line in enumerate(stream, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise CliError(f"standard input, line {number}: not UTF-8 text ({error})") from error
        waiting.append(text.removesuffix("\n").removesuffix("\r"))
        begun = begun or bool(text.strip())
        if begun:
            yield from waiting
            waiting.clear()
