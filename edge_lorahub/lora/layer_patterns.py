"""The patterns of adapter_config.json, by which layers are targeted and get ranks: few of them, or names.

Most are names of layers, which are looked up: hundreds of them for hundreds of layers are common.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import ModuleFileError
from .name_patterns import Name, Part, parse
from .peft_keys import LONGEST_NAME

_LONGEST = 2000
# Patterns of a file that are more than names, and characters in them: each takes some kilobytes when it is parsed.
_MOST_PATTERNS, _MOST_CHARACTERS = 2000, 50_000
# A name, in which a dot stands for any character as in every pattern, and an escaped one for itself.
_NAME = re.compile(r"(?:[\w-]|\\?[.-])+")
_PLAIN = re.compile(r"[\w.-]+")


def is_plain(pattern: str) -> bool:
    """Whether a pattern is a name, in which a dot stands for any character as in every pattern."""
    return _PLAIN.fullmatch(pattern) is not None


def check_patterns(patterns: Iterable[str], path: Path) -> None:
    """Refuses patterns that are none, that are not supported, or that are too many. ModuleFileError names `path`."""
    number = characters = 0
    for pattern in patterns:
        if len(pattern) > _LONGEST:
            raise ModuleFileError(f"{path}: a pattern of {len(pattern)} characters; name the layers instead")
        if _NAME.fullmatch(pattern) is None:
            number, characters = number + 1, characters + len(pattern)
            if number > _MOST_PATTERNS or characters > _MOST_CHARACTERS:
                raise ModuleFileError(f"{path}: more patterns than any model has layers; name the layers instead")
            parse(pattern, path)


def whole(pattern: str, path: Path) -> Callable[[Name], bool]:
    """As `re.fullmatch`: whether the pattern is all of a name."""
    part = parse(pattern, path)
    return lambda name: bool(part(name, 1) >> name.end)


class Endings:
    """peft's rule for its mappings: the first pattern that is a name, or that a name ends with after a dot."""

    def __init__(self, patterns: Iterable[str], path: Path) -> None:
        """patterns: as `check_patterns` lets them pass, in the order in which they are tried."""
        self._others: list[tuple[int, str, Part]] = []
        # names by where they have dots that stand for any character, and by their texts with these left open
        self._names: dict[tuple[int, tuple[int, ...]], dict[str, tuple[int, str]]] = {}
        for place, pattern in enumerate(patterns):
            if _NAME.fullmatch(pattern) is None:
                self._others.append((place, pattern, parse(f"({pattern})$", path)))
                continue
            if len(pattern) > 2 * LONGEST_NAME:
                continue  # even if every character is escaped, no layer is called so
            characters = re.findall(r"\\?.", pattern, re.DOTALL)
            open_places = tuple(i for i, character in enumerate(characters) if character == ".")
            text = "".join(character[-1] for character in characters)
            known = self._names.setdefault((len(text), open_places), {})
            known.setdefault(text, (place, pattern))

    def first(self, name: Name) -> str | None:
        """The pattern; None where no one matches."""
        found = min(self._named(name), default=(sys.maxsize, None))
        for place, pattern, part in self._others:
            if place > found[0]:
                break
            if name.matches(pattern, part):
                return pattern
        return found[1]

    def _named(self, name: Name) -> Iterator[tuple[int, str]]:
        text = name.text
        lines = [text, text[:-1]] if text.endswith("\n") else [text]
        ends = {line[i:] for line in lines for i in range(len(line)) if i == 0 or line[i - 1] == "."}
        by_length = {len(end): end for end in ends}
        for (length, open_places), known in self._names.items():
            name.spend()
            end = by_length.get(length)
            if end is not None:
                name.spend(len(open_places) // 4)
                characters = list(end)
                for place in open_places:
                    if characters[place] != "\n":
                        characters[place] = "."
                if (found := known.get("".join(characters))) is not None:
                    yield found
