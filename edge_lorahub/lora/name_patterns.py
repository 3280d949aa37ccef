"""Regular expressions on the names of layers, matched in bounded time.

Python's `re` tries the ways to match one after the other, and a pattern as `(a+)+b` has more of them than anybody can
wait for. The matcher here follows all ways at once: the positions that a part of the pattern can reach are the bits of
one number. That costs at most the pattern's length times the square of the name's for each level of repetition, and
the work that one file's patterns may cause together is bounded too. The syntax is Python's own, parsed by its parser;
what needs more than positions (back references, inline flags) is refused.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..errors import ModuleFileError

if sys.version_info >= (3, 11):
    from re import _parser as syntax  # type: ignore[attr-defined]  # private, and the only parser of this syntax
else:
    import sre_parse as syntax

_LONGEST = 2000
# Steps for all patterns of a file and all names; more than a hundred patterns on a thousand names take.
_MOST_STEPS = 2_000_000
_PLAIN = re.compile(r"[\w.-]+")

_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "DIGIT": str.isdecimal,
    "SPACE": str.isspace,
    "WORD": lambda c: c.isalnum() or c == "_",
}
Test = Callable[[str], bool]


def is_plain(pattern: str) -> bool:
    """Whether a pattern is a name, in which a dot stands for any character as in every pattern."""
    return _PLAIN.fullmatch(pattern) is not None


class _Name:
    """A name that is matched: bit i of a number is the position before character i."""

    def __init__(self, text: str, spend: Callable[[], None]) -> None:
        self.text = text
        self.end = len(text)
        self.spend = spend
        self._found: dict[Test, int] = {}

    def where(self, test: Test) -> int:
        """The positions before a character that passes a test."""
        if test not in self._found:
            self._found[test] = sum(1 << i for i, character in enumerate(self.text) if test(character))
        return self._found[test]

    @property
    def all(self) -> int:
        return (1 << (self.end + 1)) - 1


# From a name and the positions where a part of the pattern may begin to those where it may end.
Part = Callable[[_Name, int], int]


class NameMatcher:
    """The patterns of one file. `path` is for messages; every error is a ModuleFileError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[str, Part] = {}
        self._steps = 0

    def check(self, pattern: str) -> str:
        """Refuses a pattern that is none, or that is not supported; gives it back."""
        self._part(pattern)
        self._part(_ending(pattern))
        return pattern

    def whole(self, pattern: str, name: str) -> bool:
        """As `re.fullmatch`, whether the pattern is all of a name."""
        return bool(self._ends(pattern, name) >> len(name))

    def ending(self, pattern: str, name: str) -> bool:
        """Whether a name is the pattern, or ends with a dot and the pattern: peft's rule for its mappings."""
        if is_plain(pattern):
            self._spend()
            return re.match(_ending(pattern), name) is not None
        return self._ends(_ending(pattern), name) != 0

    def _ends(self, pattern: str, name: str) -> int:
        return self._part(pattern)(_Name(name, self._spend), 1)

    def _part(self, pattern: str) -> Part:
        if pattern not in self._parts:
            if len(pattern) > _LONGEST:
                raise ModuleFileError(f"{self._path}: a pattern of {len(pattern)} characters; name the layers instead")
            try:
                parsed = syntax.parse(pattern)
                if parsed.state.flags & ~re.UNICODE.value:
                    raise _UnsupportedError("inline flags")
                self._parts[pattern] = _sequence(iter(parsed))
            except (re.error, OverflowError) as error:
                raise ModuleFileError(f"{self._path}: {pattern!r} is not a regular expression ({error})") from error
            except (_UnsupportedError, RecursionError) as error:
                reason = "groups nested too deep" if isinstance(error, RecursionError) else str(error)
                raise ModuleFileError(
                    f"{self._path}: the pattern {pattern!r} is not supported ({reason}); name the layers instead"
                ) from error
        return self._parts[pattern]

    def _spend(self) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise ModuleFileError(
                f"{self._path}: its patterns take too long on the names of the layers; name the layers instead"
            )


class _UnsupportedError(Exception):
    """A part of the syntax that positions do not suffice for."""


def _ending(pattern: str) -> str:
    return rf"(.*\.)?({pattern})$"


def _sequence(nodes: Iterable[Any]) -> Part:
    parts = [_node(str(code), value) for code, value in nodes]

    def run(name: _Name, starts: int) -> int:
        for part in parts:
            name.spend()
            starts = part(name, starts)
            if not starts:
                break
        return starts

    return run


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
            return lambda character: character == wanted
        case "NOT_LITERAL":
            other = chr(value)
            return lambda character: character != other
        case "ANY":
            return lambda character: character != "\n"
        case "RANGE":
            low, high = map(chr, value)
            return lambda character: low <= character <= high
        case "CATEGORY":
            negated, kind = re.fullmatch(r"CATEGORY_(NOT_)?(\w+)", str(value)).groups()  # type: ignore[union-attr]
            holds = _CATEGORIES[kind]
            return (lambda character: not holds(character)) if negated else holds
        case "IN":
            tests = [_test(str(kind), item) for kind, item in value if str(kind) != "NEGATE"]
            negated = len(tests) < len(value)
            return lambda character: negated != any(test is not None and test(character) for test in tests)
    return None


def _union(masks: Iterable[int]) -> int:
    result = 0
    for mask in masks:
        result |= mask
    return result


def _repeat(part: Part, least: int, most: int) -> Part:
    def run(name: _Name, starts: int) -> int:
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


def _anchor(kind: str) -> Part:
    def allowed(name: _Name) -> int:
        if kind in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            return 1
        if kind == "AT_END_STRING":
            return 1 << name.end
        if kind == "AT_END":
            return 1 << name.end | (1 << (name.end - 1) if name.text.endswith("\n") else 0)
        words = name.where(_CATEGORIES["WORD"])
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

    def run(name: _Name, starts: int) -> int:
        result = 0
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
