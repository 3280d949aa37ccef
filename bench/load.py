"""What the benchmarks of adapting measure: a published size, and how much there is to learn from."""

from __future__ import annotations

from dataclasses import dataclass

from edge_lorahub.errors import SettingsError
from edge_lorahub.testing.random_models import SIZES, is_decoder_only

# of an output, with its end token
ANSWER_TOKENS = 3
# A decoder-only model's longest prompt by its shortest.
_RAGGED = 3


@dataclass(frozen=True)
class Load:
    """What is measured; length is the tokens of an input, of a decoder-only model those of the shortest.

    A decoder-only model reads prompts, which have a chat template and an instruction in common and are of several
    lengths. T5's texts are of one length, so that nobody pads.
    """

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

    @property
    def lengths(self) -> tuple[int, ...]:
        """The tokens of each example's input: of a decoder-only model up to three times as many, in equal ratios."""
        if not is_decoder_only(self.size):
            return (self.length,) * self.examples
        steps = max(1, self.examples - 1)
        return tuple(round(self.length * _RAGGED ** (i / steps)) for i in range(self.examples))

    @property
    def common(self) -> int:
        """The tokens that all inputs begin with."""
        return self.length // 2 if is_decoder_only(self.size) else 0

    @property
    def examples_fact(self) -> str:
        if not self.common:
            return f"{self.examples} of {self.length} tokens"
        return f"{self.examples} of {', '.join(map(str, self.lengths))} tokens, the first {self.common} in common"
