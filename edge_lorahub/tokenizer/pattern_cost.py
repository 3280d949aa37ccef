"""What a tokenizer's regular expression may cost: at most the square of a text's length, and that with a small factor.

The library tries the ways to match one after the other. Which patterns have few ways is decided on a part of the syntax
that the tokenizers in use have: classes, groups that are not repeated, looks without repetitions. All else is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LONGEST = 2000
# From each start of a match: the ways through all choices, and through them where a repetition is among them.
_MOST_WAYS, _MOST_WAYS_REPEATED = 64, 8
_DEEPEST = 8
# From so many times on, a repetition counts as one without an end.
_MANY = 10
_QUANTIFIER = re.compile(r"[*+?]|\{(?=,?\d)(\d*)(,?)(\d*)\}")
_GROUP = re.compile(r"\((?:\?(?::|i:|=|!|<=|<!|>))?(?!\?)")
_ESCAPE = re.compile(
    r"\\(?:[pP]\{\^?[\w ]+\}|x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[sSdDwWhHbBAzZnrtfvae]|[^\w\s])"
)


class _RefusedError(ValueError):
    """What the message's end says of a pattern."""


@dataclass
class _Cost:
    """Of a part: ways to match where what follows may fail, repetitions among them, and ways that have one."""

    ways: int = 1
    repeated: int = 0
    scans: int = 0
    # whether it may match nothing, so that what follows it is never the reason to try another way
    empty: bool = True


def scans(pattern: str) -> int:
    """How often the pattern may pass over the rest of a text, from each of its characters.

    Raises ValueError for a pattern that can take longer than the square of a text, or that has what is not known here.
    """
    if len(pattern) > _LONGEST:
        raise ValueError(f"a regular expression of {len(pattern)} characters in it")
    try:
        reader = _Reader(pattern)
        cost = reader.alternatives(depth=0)
        if reader.place < len(pattern):
            raise _RefusedError("has a ) too many")
    except _RefusedError as error:
        raise ValueError(f"its pattern {pattern!r:.80} {error}") from None
    return cost.scans


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self.place = 0

    def alternatives(self, depth: int) -> _Cost:
        """Up to the end or a closing bracket."""
        if depth > _DEEPEST:
            raise _RefusedError("has groups nested too deep")
        found = [self._sequence(depth)]
        while self._next() == "|":
            self.place += 1
            found.append(self._sequence(depth))
        return _Cost(
            sum(cost.ways for cost in found),
            max(cost.repeated for cost in found),
            sum(cost.ways for cost in found if cost.repeated),
            any(cost.empty for cost in found),
        )

    def _sequence(self, depth: int) -> _Cost:
        items = []
        while self._next() not in ("", "|", ")"):
            items.append(self._item(depth))
        cost = _Cost()
        for item in reversed(items):
            # what comes after it can fail only if it has to match something
            if depth or not cost.empty:
                cost.ways *= item.ways
                cost.repeated += item.repeated
            cost.empty = cost.empty and item.empty
        most = _MOST_WAYS_REPEATED if cost.repeated else _MOST_WAYS
        if cost.repeated > 1 or cost.ways > most:
            what = "repetitions" if cost.repeated > 1 else "ways to match"
            raise _RefusedError(f"has too many {what}, and can take forever")
        return cost

    def _item(self, depth: int) -> _Cost:
        """An atom or group with its quantifier."""
        group = _GROUP.match(self._pattern, self.place)
        if self._next() == "(":
            if group is None:
                raise _RefusedError("has a group of a kind that is not known")
            self.place = group.end()
            cost = self.alternatives(depth + 1)
            if self._next() != ")":
                raise _RefusedError("has a ( too many")
            self.place += 1
            if group[0] in ("(?=", "(?!", "(?<=", "(?<!"):
                if cost.repeated:
                    raise _RefusedError("looks around with a repetition, and can take forever")
                cost = _Cost(empty=False)  # it fails where what is there is not wanted
        else:
            self._atom()
            cost = _Cost(empty=False)
        quantifier = _QUANTIFIER.match(self._pattern, self.place)
        if quantifier is None:
            return cost
        self.place = quantifier.end()
        least, most = _bounds(quantifier)
        if group is not None and most > 1:
            raise _RefusedError("repeats a group, which can take forever")
        # a lazy or a possessive one
        if self._next() == "?" or (self._next() == "+" and quantifier[0] in "*+?"):
            self.place += 1
        if _QUANTIFIER.match(self._pattern, self.place):
            raise _RefusedError("repeats a repetition, which can take forever")
        if most - least > _MANY:
            return _Cost(cost.ways, cost.repeated + 1, empty=least == 0 or cost.empty)
        return _Cost(cost.ways * (most - least + 1), cost.repeated, empty=least == 0 or cost.empty)

    def _atom(self) -> None:
        """Passes a character, an escaped one or a class."""
        character = self._next()
        if character == "[":
            self._character_class()
        elif character == "\\":
            self._escape()
        elif _QUANTIFIER.match(self._pattern, self.place):
            raise _RefusedError("repeats nothing")
        else:
            self.place += 1

    def _escape(self) -> None:
        escape = _ESCAPE.match(self._pattern, self.place)
        if escape is None:
            raise _RefusedError(f"has {self._pattern[self.place : self.place + 2]!r}, which is not known")
        self.place = escape.end()

    def _character_class(self) -> None:
        """Classes may be nested."""
        depth = 0
        while True:
            character = self._next()
            if character == "\\":
                self._escape()
                continue
            if character == "":
                raise _RefusedError("has a [ too many")
            depth += {"[": 1, "]": -1}.get(character, 0)
            self.place += 1
            if character == "[":
                if self._next() == "^":
                    self.place += 1
                if self._next() == "]":
                    raise _RefusedError("has a class that begins with ]")
            if depth == 0:
                return

    def _next(self) -> str:
        return self._pattern[self.place : self.place + 1]


def _bounds(quantifier: re.Match[str]) -> tuple[int, int]:
    least, comma, most = quantifier.groups()
    no_end = 1 << 30
    if least is None:
        return {"*": (0, no_end), "+": (1, no_end), "?": (0, 1)}[quantifier[0]]
    if not comma:
        return int(least), int(least)
    return int(least or 0), int(most) if most else no_end
