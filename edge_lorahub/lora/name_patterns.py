"""Regular expressions on the names of layers, matched in bounded time.

Python's `re` tries the ways to match one after the other, and a pattern as `(a+)+b` has more of them than anybody can
wait for. The matcher here follows all ways at once: the positions that a part of the pattern can reach are the bits of
one number. That costs at most the pattern's length times the square of the name's for each level of repetition, and
the work that one file's patterns may cause together is bounded too. The syntax is Python's own, parsed by its parser;
what needs more than positions (back references, inline flags) is refused.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ModuleFileError

if sys.version_info >= (3, 11):
    from re import _parser as syntax  # type: ignore[attr-defined]  # private, and the only parser of this syntax
else:
    import sre_parse as syntax

# Work for all patterns and all names, in steps of about half a microsecond.
_MOST_STEPS = 4_000_000
_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "DIGIT": str.isdecimal,
    "SPACE": str.isspace,
    "WORD": lambda c: c.isalnum() or c == "_",
}


@dataclass(frozen=True)
class Test:
    """A test of one character. key: the same for tests that are the same; cost: of how many comparisons it is."""

    key: tuple[Any, ...]
    passes: Callable[[str], bool] = field(repr=False, compare=False)
    cost: int = field(default=1, compare=False)


class Budget:
    """The work that the patterns of one file may cause while its names are matched. `path` is for the message."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _MOST_STEPS

    def spend(self, steps: int = 1) -> None:
        """Raises ModuleFileError."""
        self._left -= steps
        if self._left < 0:
            raise ModuleFileError(
                f"{self._path}: its patterns take too long on the names of the layers; name the layers instead"
            )


class Name:
    """A name that is matched: bit i of a number is the position before character i."""

    def __init__(self, text: str, budget: Budget) -> None:
        self.text = text
        self.end = len(text)
        self.spend = budget.spend
        self._found: dict[object, int] = {}

    def where(self, test: Test) -> int:
        """The positions before a character that passes a test."""
        if test.key not in self._found:
            self.spend(1 + self.end * (test.cost + 2) // 3)
            self._found[test.key] = sum(1 << i for i, character in enumerate(self.text) if test.passes(character))
        return self._found[test.key]

    def where_text(self, text: str) -> int:
        """The positions before a text."""
        if text not in self._found:
            found, start = 0, self.text.find(text)
            while start >= 0:
                found |= 1 << start
                self.spend()
                start = self.text.find(text, start + 1)
            self._found[text] = found
        return self._found[text]

    def matches(self, pattern: str, part: Part) -> bool:
        """Whether the pattern is one that the name ends with, from its start or after a dot. part: `pattern$`."""
        key = (pattern,)
        if key not in self._found:
            self.spend(4)
            # no dot is passed over where there is a line's end before it
            line = self.text.find("\n")
            self._found[key] = part(self, self._starts if line < 0 else self._starts & ((2 << line) - 1))
        return self._found[key] != 0

    @cached_property
    def _starts(self) -> int:
        """The positions at the start and after a dot."""
        return 1 | self.where_text(".") << 1

    @property
    def all(self) -> int:
        return (1 << (self.end + 1)) - 1


# From a name and the positions where a part of the pattern may begin to those where it may end.
Part = Callable[[Name, int], int]


def parse(pattern: str, path: Path) -> Part:
    """A pattern that is ready to match. Raises ModuleFileError, naming `path`, where it is none or not supported."""
    try:
        parsed = syntax.parse(pattern)
        if parsed.state.flags & ~re.UNICODE.value:
            raise _UnsupportedError("inline flags")
        return _sequence(iter(parsed))
    except (re.error, OverflowError) as error:
        raise ModuleFileError(f"{path}: {pattern!r:.80} is not a regular expression ({error})") from error
    except (_UnsupportedError, RecursionError) as error:
        reason = "groups nested too deep" if isinstance(error, RecursionError) else str(error)
        raise ModuleFileError(
            f"{path}: the pattern {pattern!r:.80} is not supported ({reason}); name the layers instead"
        ) from error


class _UnsupportedError(Exception):
    """A part of the syntax that positions do not suffice for."""


def _sequence(nodes: Iterable[Any]) -> Part:
    parts: list[Part] = []
    for literal, group in itertools.groupby(nodes, key=lambda node: str(node[0]) == "LITERAL"):
        if literal:
            parts.append(_text("".join(chr(value) for _, value in group)))
        else:
            parts += [_node(str(code), value) for code, value in group]

    def run(name: Name, starts: int) -> int:
        for part in parts:
            name.spend()
            starts = part(name, starts)
            if not starts:
                break
        return starts

    return run


def _text(text: str) -> Part:
    return lambda name, starts: (starts & name.where_text(text)) << len(text)


def _node(code: str, value: Any) -> Part:
    if (test := _test(code, value)) is not None:
        return lambda name, starts: (starts & name.where(test)) << 1
    match code:
        case "BRANCH":
            branches = [_sequence(branch) for branch in value[1]]
            return lambda name, starts: _union(branch(name, starts) for branch in branches)
        case "SUBPATTERN":
            _, added, removed, inner = value
            if added or removed:
                raise _UnsupportedError("inline flags")
            return _sequence(inner)
        case "MAX_REPEAT" | "MIN_REPEAT":
            least, most, inner = value
            one = _test(*_only(inner))
            if one is not None and int(most) >= int(syntax.MAXREPEAT):
                return _star(one, int(least))
            return _repeat(_sequence(inner), int(least), int(most))
        case "AT":
            return _anchor(str(value))
        case "ASSERT" | "ASSERT_NOT":
            return _look(value, wanted=code == "ASSERT")
        case "FAILURE":
            return lambda name, starts: 0
    raise _UnsupportedError(code.lower().replace("_", " "))


def _test(code: str, value: Any) -> Test | None:
    """The test of a part that is one character; None for other parts."""
    match code:
        case "LITERAL":
            wanted = chr(value)
            return Test((code, value), lambda character: character == wanted)
        case "NOT_LITERAL":
            other = chr(value)
            return Test((code, value), lambda character: character != other)
        case "ANY":
            return Test((code,), lambda character: character != "\n")
        case "RANGE":
            low, high = map(chr, value)
            return Test((code, *value), lambda character: low <= character <= high)
        case "CATEGORY":
            negated, kind = re.fullmatch(r"CATEGORY_(NOT_)?(\w+)", str(value)).groups()  # type: ignore[union-attr]
            holds = _CATEGORIES[kind]
            return Test((code, str(value)), (lambda character: not holds(character)) if negated else holds)
        case "IN":
            tests = [test for kind, item in value if (test := _test(str(kind), item)) is not None]
            negated = len(tests) < len(value)
            key = (code, negated, frozenset(test.key for test in tests))
            return Test(key, lambda c: negated != any(test.passes(c) for test in tests), max(1, len(tests)))
    return None


def _union(masks: Iterable[int]) -> int:
    result = 0
    for mask in masks:
        result |= mask
    return result


def _only(nodes: Sequence[Any]) -> tuple[str, Any]:
    """The only node of a part, and a code that is none where it has several."""
    return (str(nodes[0][0]), nodes[0][1]) if len(nodes) == 1 else ("", None)


def _star(test: Test, least: int) -> Part:
    """At least so many characters that pass a test."""

    def run(name: Name, starts: int) -> int:
        where = name.where(test)
        for _ in range(min(least, name.end + 1)):
            name.spend()
            starts = (starts & where) << 1
        # MatchStar of Cameron et al. (PACT 2014, "Bitwise Data Parallelism in Regular Expression Matching"): the carry
        # runs through all that pass
        return (((starts & where) + where) ^ where) | starts

    return run


def _repeat(part: Part, least: int, most: int) -> Part:
    def run(name: Name, starts: int) -> int:
        for _ in range(least):
            ends = part(name, starts)
            if ends == starts:  # and so it will stay
                break
            starts = ends
        found = new = starts
        # every round finds a new position, so there are no more rounds than positions
        rounds = min(most - least, name.end + 1)
        while new and rounds:
            new = part(name, new) & ~found
            found |= new
            rounds -= 1
        return found

    return run


_WORD = Test(("CATEGORY", "CATEGORY_WORD"), _CATEGORIES["WORD"])


def _anchor(kind: str) -> Part:
    def allowed(name: Name) -> int:
        if kind in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            return 1
        if kind == "AT_END_STRING":
            return 1 << name.end
        if kind == "AT_END":
            return 1 << name.end | (1 << (name.end - 1) if name.text.endswith("\n") else 0)
        words = name.where(_WORD)
        edges = words ^ (words << 1)
        return edges if kind == "AT_BOUNDARY" else name.all & ~edges

    return lambda name, starts: starts & allowed(name)


def _look(value: tuple[int, Any], *, wanted: bool) -> Part:
    """Lookahead and lookbehind: the positions stay, and only those where the inner pattern matches, or does not."""
    direction, inner = value
    shortest, longest = map(int, inner.getwidth())
    if direction < 0 and shortest != longest:
        raise _UnsupportedError("a lookbehind of several widths")
    part = _sequence(inner)

    def run(name: Name, starts: int) -> int:
        result = 0
        name.spend(1 + name.end // 4)
        for position in range(name.end + 1):
            if starts >> position & 1:
                begin = position if direction > 0 else position - shortest
                ends = part(name, 1 << begin) if begin >= 0 else 0
                if direction < 0:
                    ends &= 1 << position
                if bool(ends) == wanted:
                    result |= 1 << position
        return result

    return run
