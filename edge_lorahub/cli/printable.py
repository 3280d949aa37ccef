"""Texts of files on a terminal: what would move its cursor, color it or turn its lines around is spelled out.

Everything that a command prints goes through here or `options.print_table`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from ..hidden_characters import printable as printable


def one_line(text: str) -> str:
    """A message on one line, without control characters."""
    return printable(" ".join(text.split()))


def say(*lines: str, err: bool = False) -> None:
    """Prints lines, without control characters and line breaks within; on standard error with `err`."""
    for line in lines:
        click.echo(printable(line), err=err)


def say_columns(rows: Sequence[Sequence[str]]) -> None:
    """Prints rows below each other, all at once: a drawn table of thousands of them would take a second."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown)
    click.echo("\n".join(lines))


def say_json(record: Any) -> None:
    """Prints JSON. On a terminal all but ASCII is escaped; a program gets the characters themselves."""
    click.echo(json.dumps(record, ensure_ascii=sys.stdout.isatty()))


def count_of(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
