"""Texts of files as a page shows them: never longer than helps, and with nothing hidden in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..hidden_characters import printable

# Characters of a text in a table or a sentence, and of a name in a chart.
MOST_CHARACTERS, _MOST_OF_LABEL = 2_000, 32
# What stands where there is no value.
NONE = "-"


def shown(text: str) -> str:
    """The text with invisible characters spelled out; of a long one its front, and how much is left out."""
    rest = len(text) - MOST_CHARACTERS
    if rest <= 0:
        return printable(text, lines=True)
    return f"{printable(text[:MOST_CHARACTERS], lines=True)}… ({rest:,} more characters are not shown)"


def labels(keys: Iterable[str], texts: Mapping[str, str] | None = None) -> dict[str, str]:
    """A short label for each key, on one line: of its text, or of itself.

    No two keys have the same label, which would be one mark in a chart.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for key in dict.fromkeys(keys):
        text = key if texts is None else texts[key]
        whole = printable(" ".join(text.split())) or "(no name)"
        label, number = _shortened(whole, ""), 1
        while label in taken:
            number += 1
            label = _shortened(whole, f" ({number})")
        taken.add(label)
        found[key] = label
    return found


def _shortened(text: str, end: str) -> str:
    most = _MOST_OF_LABEL - len(end)
    return (text if len(text) <= most else f"{text[: most - 1]}…") + end


def number(value: float | None, digits: int = 4) -> str:
    """A number, and a dash for none."""
    return NONE if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign, and a dash for none."""
    return NONE if value is None else f"{value:+.{digits}f}"


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    return NONE if low is None or high is None else f"{signed(low, digits)} to {signed(high, digits)}"


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
