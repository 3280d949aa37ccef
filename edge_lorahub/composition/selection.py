"""How modules were chosen of more before a search, as a record keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# How modules are chosen of more before a search: drawn, by what they say, or by what they do alone.
SELECTIONS = ("random", "similar", "probe")


@dataclass(frozen=True)
class Selection:
    """Which modules were taken of so many, and why; method is one of SELECTIONS.

    seed: of what was drawn. scores: by the modules taken: how similar their texts are to the examples' (more is
    better), or their loss alone (less is better); None: drawn.
    """

    method: str
    considered: int
    seed: int
    scores: Mapping[str, float | None]

    def __post_init__(self) -> None:
        if self.method not in SELECTIONS:
            raise ValueError(f"method is {self.method[:40]!r}, where {' or '.join(SELECTIONS)} was expected")
