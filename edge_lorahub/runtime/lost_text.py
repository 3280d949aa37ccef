"""What is lost between a text and its tokens: outputs that no answer can ever be, inputs that the model cannot read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..bundle.prompt import Prompt
from ..errors import warn
from ..examples.example import Example
from .tokens import Ids, Tokens

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
    stripped: bool


def warn_of_unwritable(tokens: Tokens, examples: Sequence[Example], prompt: Prompt) -> None:
    """Warns once, with counts and an example of each kind, of outputs that do not survive encoding and decoding.

    The model learns from an output's tokens and answers in tokens, so what is lost between a text and its tokens can
    neither be learned nor be answered. The same is true of what the prompt's template strips of an output.
    """
    outputs = [example.output for example in examples]
    learned = [prompt.output_rule.apply(output) for output in outputs]
    backs, unknown_pieces = tokens.read_back(learned), tokens.unknown_pieces(learned)
    lost = [
        _Lost(number, output, back, unknown, stripped=back == one)
        for number, (output, one, back, unknown) in enumerate(
            zip(outputs, learned, backs, unknown_pieces, strict=True), 1
        )
        if back != output
    ]
    outer = [
        _Lost(number, output, output, set(), stripped=False)
        for number, (output, back) in enumerate(zip(outputs, backs, strict=True), 1)
        if back == output != output.strip()
    ]
    if not lost and not outer:
        return
    stripped = [one for one in lost if one.stripped]
    unknown = [one for one in lost if not one.stripped and one.unknown]
    empty = [one for one in lost if not one.stripped and not one.unknown and not one.back]
    changed = [one for one in lost if not one.stripped and not one.unknown and one.back]
    parts = [
        f"{len(found)} of {len(outputs)} outputs {what} "
        f"(output {found[0].number}, {_short(found[0].output)}, is {how} {_short(found[0].back)})"
        for found, what, how in (
            (
                unknown,
                f"contain {_names(one.unknown for one in unknown)}, which this tokenizer cannot write; they can never "
                "match",
                "read back as",
            ),
            (
                empty,
                "have nothing that this tokenizer can write: only the end token is left; they can never match",
                "read back as",
            ),
            (
                changed,
                "are changed by encoding and decoding, so that an exact match is hardly possible",
                "read back as",
            ),
            (
                outer,
                "begin or end with white space, as behind a comma in CSV, which an answer must have too to match",
                "learned as",
            ),
            (
                stripped,
                "have at their ends what the chat template strips of answers; they can never match exactly",
                "learned as",
            ),
        )
        if found
    ]
    warn("; ".join(parts))


def warn_of_unreadable(tokens: Tokens, examples: Sequence[Example], sources: Sequence[Ids]) -> None:
    """Warns once, with counts and an example, of inputs with pieces for which there is only the unknown token.

    sources: what the model reads of each example.
    """
    if tokens.unknown is None:
        return
    places = [place for place, ids in enumerate(sources) if tokens.unknown in ids]
    inputs = [examples[place].input for place in places]
    # the unknown token may be of the texts around an input
    found = [
        (place, text, pieces)
        for place, text, pieces in zip(places, inputs, tokens.unknown_pieces(inputs), strict=True)
        if pieces
    ]
    if found:
        place, text, _ = found[0]
        warn(
            f"{len(found)} of {len(examples)} inputs contain {_names(pieces for *_, pieces in found)}, for which this "
            "tokenizer has the unknown token alone, so that the model cannot tell one from another "
            f"(input {place + 1}, {_short(text)})"
        )


def _names(found: Iterable[set[str]]) -> str:
    """The pieces that most texts have, and how many more there are."""
    pieces = Counter(piece for one in found for piece in sorted(one))
    names = [_short(piece) for piece, _ in pieces.most_common(_MOST_NAMED)]
    if len(pieces) > _MOST_NAMED:
        names.append(f"{len(pieces) - _MOST_NAMED} more")
    return " or ".join(names)


def _short(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 3] + "...")
