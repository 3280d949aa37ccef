"""What a tokenizer's parts may do to a text: bounded work, and no more text than a small multiple.

The library's regular expressions are of a kind that tries ways one after the other, and its normalizers can make any
text of any other. Both run inside of it, where nothing can stop them, so they are looked at before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer

# By how much all replacements together may make a text longer.
_MOST_GROWTH = 64
# What one alternative of a pattern may have, each of which is a factor of the ways to match: repetitions (each a factor
# of a text's length), optional parts, groups. The patterns of GPT-2 and its successors have 2, 2 and 1.
_MOST = {"repetitions": 2, "optional parts": 4, "groups": 4}
_LONGEST_PATTERN = 1000
_QUANTIFIER = re.compile(r"\{(\d*)(,?)(\d*)\}|[*+?]")
# From so many times on it is a repetition.
_MANY = 10
# A character of a pattern: escaped, a class, or itself.
_ATOM = re.compile(r"\\[pP]\{[^}]*\}|\\.|\[(?:\\.|\[:\w+:\]|[^\]\\])+\]|.", re.DOTALL)


def check_parts(tokenizer: Tokenizer) -> None:
    """Refuses a tokenizer of which a text can make too much work, or too much text. Raises ValueError."""
    for part in (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder):
        if part is None:
            continue
        try:
            state = json.loads(part.__getstate__())
        except (TypeError, ValueError):
            raise ValueError("a part of it was made by a program, and cannot be looked at") from None
        growth = 1.0
        for found in _objects(state):
            pattern = found.get("pattern")
            regex = pattern.get("Regex") if isinstance(pattern, dict) else None
            if isinstance(regex, str):
                _check_regex(regex)
            if found.get("type") == "Replace":
                text = pattern.get("String") if isinstance(pattern, dict) else pattern
                shortest = len(text.encode()) if isinstance(text, str) else 1
                growth *= max(1.0, len(str(found.get("content", "")).encode()) / max(1, shortest))
            elif found.get("type") == "Prepend":
                growth *= max(1, len(str(found.get("prepend", "")).encode()))
        if growth > _MOST_GROWTH:
            raise ValueError(f"its replacements make a text up to {growth:.3g} times as long")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects within a JSON value."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_regex(pattern: str) -> None:
    """Refuses repetitions of a group, and alternatives with more in them than `_MOST`."""
    if len(pattern) > _LONGEST_PATTERN:
        raise ValueError(f"a regular expression of {len(pattern)} characters in it")
    counts = dict.fromkeys(_MOST, 0)
    depth = position = 0
    before = "("  # as at the start there is nothing to repeat
    while position < len(pattern):
        quantifier = _QUANTIFIER.match(pattern, position) if before != "(" else None
        if quantifier and before != "quantifier":
            many = _is_many(quantifier)
            if many and before == ")":
                raise ValueError(f"its pattern {pattern!r:.80} repeats a group, which can take forever")
            counts["repetitions" if many else "optional parts"] += 1
        if quantifier:  # a second one makes the first lazy or possessive
            before, position = "quantifier", quantifier.end()
        else:
            atom = _ATOM.match(pattern, position)
            assert atom is not None
            before, position = atom[0], atom.end()
            depth += {"(": 1, ")": -1}.get(before, 0)
            counts["groups"] += before == "("
            if before == "|" and depth == 0:
                counts = dict.fromkeys(_MOST, 0)
        for what, most in _MOST.items():
            if counts[what] > most:
                raise ValueError(f"its pattern {pattern!r:.80} has too many {what}, and can take forever")


def _is_many(quantifier: re.Match[str]) -> bool:
    least, comma, most = quantifier.groups()
    if least is None:
        return quantifier[0] != "?"
    return (bool(comma) and not most) or int(most or least or 0) > _MANY
