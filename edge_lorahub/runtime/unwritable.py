"""What a tokenizer's vocabulary cannot say: outputs that no answer can ever be."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import EdgeLorahubWarning
from ..examples.example import Example
from .tokens import Tokens

# How many different pieces a warning names, and how much of a text it shows.
_MOST_NAMED = 3
_MOST_SHOWN = 60


@dataclass(frozen=True)
class _Lost:
    """An output that does not survive, by its number; what it is read back as; the pieces without a token."""

    number: int
    output: str
    back: str
    unknown: set[str]


def warn_of_unwritable(tokens: Tokens, examples: Sequence[Example]) -> None:
    """Warns once, with counts and an example of each kind, of outputs that do not survive encoding and decoding.

    The model learns from an output's tokens and answers in tokens, so what is lost between a text and its tokens can
    neither be learned nor be answered.
    """
    outputs = [example.output for example in examples]
    lost = [
        _Lost(number, output, back, tokens.unknown_pieces(output))
        for number, (output, back) in enumerate(zip(outputs, tokens.read_back(outputs), strict=True), 1)
        if back != output
    ]
    if not lost:
        return
    unknown = [one for one in lost if one.unknown]
    empty = [one for one in lost if not one.unknown and not one.back]
    changed = [one for one in lost if not one.unknown and one.back]
    pieces = Counter(piece for one in unknown for piece in sorted(one.unknown))
    parts = [
        f"{len(found)} of {len(outputs)} outputs {what} "
        f"(output {found[0].number}, {_short(found[0].output)}, is read back as {_short(found[0].back)})"
        for found, what in (
            (unknown, f"contain {_names(pieces)}, which this tokenizer cannot write; they can never match"),
            (empty, "have nothing that this tokenizer can write: only the end token is left; they can never match"),
            (changed, "are changed by encoding and decoding, so that an exact match is hardly possible"),
        )
        if found
    ]
    warnings.warn("; ".join(parts), EdgeLorahubWarning, stacklevel=3)


def _names(pieces: Counter[str]) -> str:
    names = [_short(piece) for piece, _ in pieces.most_common(_MOST_NAMED)]
    if len(pieces) > _MOST_NAMED:
        names.append(f"{len(pieces) - _MOST_NAMED} more")
    return " or ".join(names)


def _short(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 3] + "...")
