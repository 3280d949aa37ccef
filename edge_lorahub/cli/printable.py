"""Texts of files on a terminal: what would move its cursor, color it or turn its lines around is spelled out.

Everything that a command prints goes through here or `options.print_table`.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

import click

# Controls (Cc), marks of direction and other invisible formats (Cf), halves of characters (Cs), and what no standard
# says the look of (Co, Cn are left: fonts show a box).
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Joiners within words of Persian, Indic scripts and emoji, and a soft hyphen, change no line.
_HARMLESS = "\u200c\u200d\u00ad"


def printable(text: str, *, lines: bool = False) -> str:
    r"""The text with control characters as \x1b or \u202e; with `lines`, line breaks and tabs stay."""
    if text.isprintable():
        return text
    kept = _HARMLESS + ("\n\t" if lines else "")
    return "".join(
        c if c in kept or unicodedata.category(c) not in _HIDDEN else c.encode("unicode_escape").decode() for c in text
    )


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
