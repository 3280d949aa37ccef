"""A page as data: sections of blocks. Texts are as they were found; `templates/blocks.html` escapes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    kind: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True)
class Points:
    """A list of sentences; tone: "plain", "note" or "warning"."""

    kind: ClassVar[str] = "points"
    items: Sequence[str]
    tone: str = "plain"


@dataclass(frozen=True)
class Facts:
    """Names and their values."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]


# Columns of a table that holds texts alone.
ALL = 99


@dataclass(frozen=True)
class Table:
    """Rows under named columns; the first column names its row.

    texts: so many columns, from the front, hold texts; the others hold numbers. folded: closed until somebody opens it.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart as SVG's inner part, of width times height pixels, and the same figures as a table, which is folded."""

    kind: ClassVar[str] = "figure"
    title: str
    description: str
    width: float
    height: float
    drawing: str
    table: Table | None = None


@dataclass(frozen=True)
class Group:
    """Blocks under a heading of their own, within a section; figures stand side by side where there is room."""

    kind: ClassVar[str] = "group"
    title: str
    blocks: Sequence[Block]


Block = Prose | Points | Facts | Table | Figure | Group


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; name: its anchor."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole page; lead: its first sentence."""

    title: str
    lead: str
    sections: Sequence[Section]
