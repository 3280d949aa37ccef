"""Texts that come as lines of standard input: some at a time.

A text that cannot be answered does not end the others. What is not UTF-8 does: it is no line of text at all.
"""

from __future__ import annotations

import os
import stat
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TextIO

from ..errors import EdgeLorahubError, EdgeLorahubWarning, ExamplesError, SettingsError
from .main import CliError


def line_groups(at_once: int) -> Iterator[list[str]]:
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


def answer_each(
    answer: Callable[[Sequence[str], int], Iterable[str]], texts: Sequence[str], first: int
) -> list[str | EdgeLorahubError]:
    """The answer to each text, or what is wrong with the text. answer gets some of them, and the first one's number."""
    with warnings.catch_warnings():
        if len(texts) > 1:  # what was said of all is said again of a part
            warnings.simplefilter("once", EdgeLorahubWarning)
        return _in_halves(answer, texts, first)


def _in_halves(
    answer: Callable[[Sequence[str], int], Iterable[str]], texts: Sequence[str], first: int
) -> list[str | EdgeLorahubError]:
    try:
        return list(answer(texts, first))
    except (ExamplesError, SettingsError) as error:
        if len(texts) == 1:
            return [error]
    middle = len(texts) // 2
    return [*_in_halves(answer, texts[:middle], first), *_in_halves(answer, texts[middle:], first + middle)]
