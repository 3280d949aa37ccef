"""`edge-lorahub generate`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import EdgeLorahubError
from . import options
from .main import COMMANDS, CliError
from .printable import one_line, printable, say, say_json
from .progress import progress
from .system_text import place_system
from .text_lines import answer_each, line_groups

if TYPE_CHECKING:
    from ..runtime.sampling import Sampling


def _sampling(function: options.F) -> options.F:
    """How tokens are drawn; all names are those of `Sampling`, which looks at the numbers."""
    for option in (
        click.option("--seed", type=int, help="Draw other tokens with another seed.  [default: 1]"),
        click.option(
            "--repetition-penalty", type=float,
            help="Make tokens that a text has already less likely, by a number above 1; also without drawing.",
        ),
        click.option(
            "--min-p", type=float,
            help="Draw only tokens at least so probable as this share of the most probable one, from 0 to 1.",
        ),
        click.option(
            "--top-p", type=float,
            help="Draw only from the fewest tokens whose probabilities sum up to it, above 0 and at most 1.",
        ),
        click.option("--top-k", type=int, help="Draw only from so many of the most probable tokens."),
        click.option(
            "--temperature", type=float,
            help="Draw tokens: below 1 likely ones more often, above 1 less. 0: always the most probable.  "
            "[default: 1 where tokens are drawn]",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


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
@_sampling
@click.option(
    "--stop",
    "stop",
    metavar="TEXT",
    multiple=True,
    help=r"End an answer before this text; may be given several times. \n is a line break, \t a tab, \\ a backslash.",
)
@options.decoding
@options.prompt
@options.threads
@options.as_json
@click.pass_context
def command(
    context: click.Context, bundle: Path, texts: tuple[str, ...], file: Path | None, adapter: str | None,
    temperature: float | None, top_k: int | None, top_p: float | None, min_p: float | None,
    repetition_penalty: float | None, seed: int | None, stop: tuple[str, ...], max_new_tokens: int,
    max_input_tokens: int, batch_size: int, prompt_format: str | None, system: str | None, threads: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Answer texts with a bundle, and an adapter if there is one.

    The texts are arguments, a file's, or the lines of standard input. Answers are printed one a line; with
    --json, as {"input", "output"}. Lines that come through a pipe or from a terminal are answered one by one as they
    come, or as many at once as --batch-size says, which takes less time for all. On a terminal the answer to a single
    text is shown while it is made. A line that cannot be answered is said on standard error, and has an empty answer;
    one that is not UTF-8 ends the command.

    Always the most probable token is taken, unless one of --temperature, --top-k, --top-p, --min-p and --seed is
    given: then tokens are drawn.
    """

    from ..composition.prompt_record import warn_of_other_prompt
    from ..examples.example import read_inputs_with_system
    from ..runtime.generation import generate_with, runner_for, stream_with
    from ..runtime.stopping import Stops

    if texts and file:
        raise CliError("texts as arguments and --file: give one of them")
    # what can be wrong is looked at before the slow part
    sampling = _sampling_of(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty, seed=seed
    )  # fmt: skip
    stops = Stops(_unescaped(text) for text in stop)
    read = read_inputs_with_system(file) if file else None
    model, loaded, prompt = options.load_model(bundle, adapter, threads, prompt_format, system)
    given = list(texts)
    if file and read is not None:
        placed, prompt = place_system(file, *read, model.bundle, prompt, system)
        given = [example.input for example in placed]
    stops.warn_of_unwritable(model.tokens)
    if not given and sys.stdin is None:
        raise CliError("standard input is closed; give the texts as arguments or with --file")
    if not given and sys.stdin.isatty():
        say("reading texts from the terminal, one a line; end with Ctrl-D", err=True)
    at_once = batch_size if context.get_parameter_source("batch_size") is not ParameterSource.DEFAULT else 1
    runner = runner_for(model, loaded)
    warn_of_other_prompt(loaded, prompt)

    def shown(group: Sequence[str], first: int) -> Iterator[str]:
        """The answer to a single text, on the terminal as it comes."""
        for piece in stream_with(
            runner, group[0], max_new_tokens=max_new_tokens, max_input_tokens=max_input_tokens, sampling=sampling,
            stops=stops, first=first, prompt=prompt,
        ):  # fmt: skip
            click.echo(printable(piece, lines=True), nl=False)
        click.echo()
        yield ""

    def whole(group: Sequence[str], first: int) -> list[str]:
        with progress("texts", len(group), batch_size) as on_answers:
            return generate_with(
                runner, group, max_new_tokens=max_new_tokens, max_input_tokens=max_input_tokens, batch_size=batch_size,
                sampling=sampling, stops=stops, first=first, prompt=prompt, on_answers=on_answers,
            )  # fmt: skip

    number, failed = 1, False
    for group in [given] if given else line_groups(at_once):
        first, number = number, number + len(group)
        live = len(group) == 1 and sys.stdout.isatty() and not as_json
        answer = shown if live else whole
        # of lines that come one after the other, none ends the rest
        found = answer(group, first) if given else answer_each(answer, group, first)
        for text, one in zip(group, found, strict=True):
            failed |= isinstance(one, EdgeLorahubError)
            _print(text, one, as_json=as_json, live=live)
    if failed:
        context.exit(2)


def _print(text: str, answer: str | EdgeLorahubError, *, as_json: bool, live: bool) -> None:
    """A line for every text, whatever became of it; live: its answer is on the terminal already."""
    if isinstance(answer, EdgeLorahubError):
        say(f"Error: {one_line(str(answer))}", err=True)
        if as_json:
            say_json({"input": text, "output": None, "error": str(answer)})
        else:
            click.echo()
    elif as_json:
        say_json({"input": text, "output": answer})
    elif not live:
        # a program gets the answer as it is
        click.echo(printable(answer, lines=True) if sys.stdout.isatty() else answer)


def _sampling_of(**numbers: Any) -> Sampling | None:
    """How tokens are drawn by the options that were given; a repetition penalty alone does not make it sampling."""
    from ..runtime.sampling import Sampling

    given = {name: value for name, value in numbers.items() if value is not None}
    if not given:
        return None
    if list(given) == ["repetition_penalty"]:
        given["temperature"] = 0
    return Sampling(**given)


def _unescaped(text: str) -> str:
    r"""The text with \n, \t and \\ as what they stand for, which few shells let one type; other backslashes stay."""
    return re.sub(r"\\[nt\\]", lambda match: {"n": "\n", "t": "\t", "\\": "\\"}[match[0][1]], text)
