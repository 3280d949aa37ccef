"""Options and small helpers that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ..errors import SettingsError, warn
from .printable import count_of, printable

if TYPE_CHECKING:
    from ..bundle.prompt import Prompt
    from ..composition.adapter import Adapter
    from ..runtime.session import Model

# Of a table's names, as much as is left together.
_NAME_WIDTH = 20

F = TypeVar("F", bound=Callable[..., Any])

BUNDLE = click.Path(path_type=Path)


_BYTES = {"MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}


class MemorySize(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """A number of bytes: 800MB, 1.5GB, 1GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([MG]i?B)", str(value), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a size; write 800MB or 1.5GB", param, ctx)
        return int(float(match[1]) * _BYTES[match[2].upper()])


class BudgetNumber(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.4
    """A number of candidates, or auto: None."""

    name = "budget"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if str(value) == "auto":
            return None
        if not re.fullmatch(r"\d{1,9}", str(value)) or not int(value):
            self.fail(f"{value!r} is no budget; write auto, or a number of candidates from 1", param, ctx)
        return int(value)


class Holdout(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A number of examples, or a share of them: 40, 0.2 or 20%."""

    name = "holdout"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        text = str(value)
        if re.fullmatch(r"\d{1,9}", text) and int(text):
            return int(text)
        match = re.fullmatch(r"(\d{1,2}(?:\.\d+)?)%|(0?\.\d+)", text)
        share = 0.0 if match is None else float(match[1]) / 100 if match[1] else float(match[2])
        if not 0 < share < 1:
            self.fail(f"{value!r} is neither a number of examples nor a share; write 40, 0.2 or 20%", param, ctx)
        return share


def budget(function: F) -> F:
    return click.option(
        "--budget", type=BudgetNumber(), default="auto", show_default=True, metavar="auto|N",
        help="The most candidates to evaluate. auto: by the number of modules and the time a candidate takes.",
    )(function)  # fmt: skip


def search(function: F) -> F:
    """What adapt and demo choose the search by."""
    for option in (
        click.option(
            "--surrogate/--no-surrogate", default=None,
            help="cma: let a surrogate of the label logits propose candidates.  [default: in exact composition]",
        ),
        click.option(
            "--optimizer", default="cma", show_default=True,
            help="cma, reference (as the paper's released code), or nevergrad:NAME.",
        ),
        click.option(
            "--composition", type=click.Choice(["exact", "paper"]),
            help="How weights and modules make an adapter.  [default: exact; paper with --optimizer reference]",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def refuse_unused(optimizer: str, names: Sequence[str]) -> None:
    """Refuses the running command's options of CMA-ES, by their names, where they were given for another optimizer."""
    context = click.get_current_context()
    given = [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if optimizer != "cma" and given:
        flags = {o.name: (o.secondary_opts or o.opts)[0] for o in context.command.params if o.name in given}
        raise SettingsError(
            f"--optimizer {optimizer} has no use for {', '.join(flags[name] for name in given)}, which is for "
            "--optimizer cma alone; leave it out"
        )


def options_of_command() -> set[str]:
    """The running command's options, by their names in Python: what a message may advise."""
    options = [one for one in click.get_current_context().command.params if isinstance(one, click.Option)]
    return {str(one.name) for one in options}


def warn_of_fewer(path: Path, limit: int | None, count: int) -> None:
    """Where --limit is more than the examples that there are."""
    if limit is not None and count < limit:
        warn(f"{path}: --limit {limit}, but there are only {count_of(count, 'example')}; all of them are taken")


def threads(function: F) -> F:
    return click.option(
        "--threads", type=click.IntRange(1), help="Threads of ONNX Runtime.  [default: all that it may use]"
    )(function)


def force(function: F) -> F:
    return click.option("--force", is_flag=True, help="Overwrite an output of an earlier run.")(function)


def as_json(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def adapter(function: F) -> F:
    return click.option(
        "--adapter", metavar="DIR", help="An adapter, or a single LoRA module in any form that adapt takes."
    )(function)


def data(function: F) -> F:
    """Which of a file's examples to take."""
    for option in (
        click.option("--shuffle-seed", type=int, help="Shuffle the examples with this seed first."),
        click.option("--limit", type=click.IntRange(1), help="Take this many examples from the front."),
    ):
        function = option(function)
    return function


def skip(function: F) -> F:
    return click.option(
        "--skip", type=click.IntRange(0), default=0, show_default=True,
        help="Leave out this many examples from the front, for example those that were adapted on.",
    )(function)  # fmt: skip


def decoding(function: F) -> F:
    for option in (
        click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Texts at once."),
        click.option(
            "--max-input-tokens", type=click.IntRange(2), default=2048, show_default=True,
            help="Longer inputs are cut, with a warning.",
        ),
        click.option("--max-new-tokens", type=click.IntRange(1), default=64, show_default=True,
                     help="The longest answer, in tokens."),
    ):  # fmt: skip
        function = option(function)
    return function


def prompt(function: F) -> F:
    for option in (
        click.option(
            "--system", metavar="TEXT", help="A system text, where the prompt has a place for one."
        ),
        click.option(
            "--prompt-format", metavar="chat|plain|FILE",
            help="The texts around an input and its answer: chat, the bundle's chat template; plain, none; or a JSON "
            "file with before, after, lead and end.  [default: the adapter's own; chat where the bundle has it]",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def load_model(
    bundle: Path, adapter: str | None, threads: int | None, prompt_format: str | None, system: str | None
) -> tuple[Model, Adapter | None, Prompt]:
    """The bundle, the adapter and the prompt, checked against each other before the slow part."""
    from ..composition.adapter import load_adapter
    from ..runtime.opened import OpenBundle
    from ..runtime.prompt_choice import choose_prompt
    from ..runtime.session import Model

    opened = OpenBundle(bundle)
    loaded = None if adapter is None else load_adapter(adapter, opened.manifest)
    prompt = choose_prompt(opened, prompt_format, system, loaded)
    return Model(opened, threads=threads), loaded, prompt


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> None:
    """A table on standard output; with `numbers`, all columns but the first are such, on the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table()
    needed = 1
    for index, column in enumerate(columns):
        right = bool(index and numbers)
        # a heading goes over several lines; a number is not broken, and a long name only past _NAME_WIDTH
        heading = column.replace(" ", "\n") if right else column
        widest = max(map(len, [*heading.split("\n"), *(row[index] for row in rows)]))
        needed += 3 + (widest if right else min(widest, _NAME_WIDTH))
        table.add_column(heading, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for row in rows:
        table.add_row(*map(printable, row))
    # names may hold square brackets, which are no markup
    console = Console(markup=False, highlight=False)
    # rather past the window's edge than numbers in pieces
    console.width = max(console.width, needed)
    console.print(table)
