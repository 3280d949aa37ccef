"""Where an answer ends that is to end before certain strings, and what of a growing answer will not change any more."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import EdgeLorahubWarning, SettingsError
from .tokens import Ids, Tokens

Bools = NDArray[np.bool_]

# Cleaning up spaces looks at so many characters: of ` n ' t`, the longest, it takes both spaces away. What follows may
# also bring one back, before an apostrophe: `a ' ` becomes `a'`, but `a ' ?` becomes `a '?`.
_MAY_CHANGE = 8
_CHANGING = re.compile("[ ']")
# What stands for bytes that are no character, or not yet one.
_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class Stops:
    """Strings before the first of which an answer ends: before the one that begins first."""

    def __init__(self, strings: str | Iterable[str] = ()) -> None:
        """strings: one, or several. Raises SettingsError for one that is empty or no text."""
        found = [strings] if isinstance(strings, str) else _listed(strings)
        for string in found:
            if not isinstance(string, str):
                raise SettingsError(f"a stop string must be a text, got {string!r:.60}")
            if not string:
                raise SettingsError("a stop string must not be empty: it would end every answer before it begins")
            if any("\ud800" <= character <= "\udfff" for character in string):
                raise SettingsError(f"stop string {string!a:.60}: not valid Unicode (a lone surrogate); mend it")
        self._strings = tuple(dict.fromkeys(found))

    def __bool__(self) -> bool:
        return bool(self._strings)

    def cut(self, text: str) -> str:
        """Of a whole answer what is left."""
        return text[: min((start for start in map(text.find, self._strings) if start >= 0), default=len(text))]

    def so_far(self, text: str) -> tuple[str, bool]:
        """Of an answer that may go on, what is left whatever comes, and whether it has ended at a stop string.

        What may yet become a stop string is not part of it.
        """
        settled = _settled(text)
        left = self.cut(settled)
        begun = min((_begun(settled, string) for string in self._strings), default=len(settled))
        if begun < len(left):  # one that would begin before all others, if it comes
            return left[:begun], False
        return left, len(left) < len(settled)

    def warn_of_unwritable(self, tokens: Tokens) -> None:
        """Warns of strings with characters that no token has, before which no answer can end."""
        if not self._strings:
            return
        known = tokens.characters
        for string in self._strings:
            if known is not None and (unknown := sorted(set(string) - known)):
                warnings.warn(
                    f"stop string {string!r:.60}: this model's tokens have no {unknown[0]!r}, so that it never comes",
                    EdgeLorahubWarning,
                    stacklevel=4,
                )


class StopWatch:
    """Which answers of a batch have come to a stop string."""

    def __init__(self, stops: Stops, tokens: Tokens, batch: int) -> None:
        self._stops, self._tokens = stops, tokens
        self._answers: list[list[int]] = [[] for _ in range(batch)]

    def __call__(self, chosen: Ids, running: Bools) -> Bools:
        """The next token of each answer, (B,), and which go on, (B,) -> which of these have ended with it, (B,)."""
        ended: Bools = np.zeros(len(chosen), bool)
        going_on = np.flatnonzero(running)
        for row in going_on:
            self._answers[row].append(int(chosen[row]))
        texts = self._tokens.decode([np.array(self._answers[row], np.int64) for row in going_on])
        for row, text in zip(going_on, texts, strict=True):
            ended[row] = self._stops.so_far(text)[1]
        return ended


def pieces(answers: Iterable[str], stops: Stops) -> Iterator[str]:
    """Of an answer that grows, in its states up to the whole one, what is added and will not change any more.

    It ends before the first stop string, with the state that has it.
    """
    answer = shown = ""
    for answer in answers:
        left, ended = stops.so_far(answer)
        if left.startswith(shown):
            yield left[len(shown) :]
            shown = left
        if ended:
            break
    answer = stops.cut(answer)
    # a tokenizer of another kind may have changed more than that
    yield answer[len(shown) :] if answer.startswith(shown) else f"\n{answer}"


def _settled(text: str) -> str:
    """The part of an answer that stays as it is, whatever tokens follow: neither spaces go nor characters come."""
    text = text.rstrip(_INCOMPLETE)
    found = _CHANGING.search(text, max(0, len(text) - _MAY_CHANGE))
    return text if found is None else text[: found.start()]


def _begun(text: str, string: str) -> int:
    """Where at the text's end the string has begun but not ended; the text's length: nowhere."""
    starts = range(max(0, len(text) - len(string) + 1), len(text))
    return next((start for start in starts if string.startswith(text[start:])), len(text))


def _listed(strings: object) -> Sequence[str]:
    if not isinstance(strings, Iterable) or isinstance(strings, bytes):
        raise SettingsError(f"stop must be a text or a list of texts, got {strings!r:.60}")
    return list(strings)
