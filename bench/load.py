"""What the benchmarks of adapting measure: a published size, and how much there is to learn from."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lorahub.errors import SettingsError
from edge_lorahub.testing.random_models import SIZES

# of an output, with its end token
ANSWER_TOKENS = 3


@dataclass(frozen=True)
class Load:
    """What is measured; length is the tokens of an input."""

    size: str
    modules: int = 20
    rank: int = 16
    examples: int = 5
    length: int = 70
    budget: int = 40
    composition: str = "exact"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.size in ("small", "base", "large"):
            object.__setattr__(self, "size", f"flan-t5-{self.size}")
        if self.size not in SIZES:
            raise SettingsError(f"size {self.size!r} is unknown; choose one of {', '.join(SIZES)}")
