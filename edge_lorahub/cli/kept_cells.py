"""A long measurement's cells on disk: kept while it is unfinished, with a line that says how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .printable import count_of, say

if TYPE_CHECKING:
    from ..bench.cells import Cells, Words

F = TypeVar("F", bound=Callable[..., Any])


def resumable(default: Path) -> Callable[[F], F]:
    """The options of a measurement that goes on where it was ended: file (None: the default) and resume."""

    def add(function: F) -> F:
        for option in (
            click.option("--resume", is_flag=True, help="Go on from that file: what is in it is not measured again."),
            click.option(
                "--cells", "file", type=click.Path(path_type=Path),
                help=f"Keep what is measured in this file.  [default: {default}, which goes when all is printed]",
            ),
        ):  # fmt: skip
            function = option(function)
        return function

    return add


@contextmanager
def keeping(
    path: Path, fields: Sequence[str], settings: Mapping[str, Any], is_value: Callable[[Any], bool], *, resume: bool,
    named: bool, words: Words | None = None,
) -> Iterator[Cells]:  # fmt: skip
    """The cells of a measurement, as `Cells` has them. When the block ends, the file goes unless the user named it.

    words: what messages call them, None: cells. Where the block is ended early the file stays, but for one without a
    cell. Raises JournalError, as `Cells` does.
    """
    from ..bench.cells import CELLS, Cells

    words = words or CELLS
    cells = Cells(path, fields, settings, resume=resume, is_value=is_value, words=words)
    if resume:
        say(f"resumed: {count_of(len(cells), words.one)} known", err=True)
    try:
        yield cells
    except BaseException:
        if len(cells):
            cells.close()
            known = count_of(len(cells), words.one)
            say(
                "",
                f"ended with {known} {words.done}, which {path} keeps: the same command with --resume goes on",
                err=True,
            )
        else:
            cells.remove()
        raise
    if named:
        cells.close()
    else:
        cells.remove()
