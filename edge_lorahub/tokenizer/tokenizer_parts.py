"""What a tokenizer's parts may do to a text: bounded work, and no more text than a small multiple.

The library's regular expressions are of a kind that tries ways one after the other, and its normalizers can make any
text of any other. Both run inside of it, where nothing can stop them, so they are looked at before.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import Tokenizer

from .pattern_cost import scans

# By how much all replacements together may make a text longer.
_MOST_GROWTH = 64
# How often all patterns together may pass over the rest of a text, from each of its characters: GPT-4o's do 4 times.
_MOST_SCANS = 8
# Tokens that a template puts around a text: one or two, most often.
_MOST_ADDED = 16
# The longest replacement of a character in SentencePiece's rules: the widest ligature of NFKC makes 33 bytes.
_LONGEST_REPLACEMENT = 64
# How much longer parts make a text by what they are: a byte as a letter, a space as a mark.
_GROWTH = {"ByteLevel": 2, "Metaspace": 4}


def check_parts(tokenizer: Tokenizer) -> None:
    """Refuses a tokenizer of which a text can make too much work, or too much text. Raises ValueError."""
    for part in (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.decoder, tokenizer.post_processor):
        if part is None:
            continue
        try:
            state = json.loads(part.__getstate__())
        except (TypeError, ValueError):
            raise ValueError("a part of it was made by a program, and cannot be looked at") from None
        growth = 1.0
        added = over = 0
        for found in _objects(state):
            pattern = found.get("pattern")
            regex = pattern.get("Regex") if isinstance(pattern, dict) else None
            if isinstance(regex, str):
                over += scans(regex)
            growth *= _growth(found)
            added += _added(found)
        if growth > _MOST_GROWTH:
            raise ValueError(f"its replacements make a text up to {growth:.3g} times as long")
        if over > _MOST_SCANS:
            raise ValueError(f"its patterns may pass over a text {over} times from each character")
        if added > _MOST_ADDED:
            raise ValueError(f"its template adds {added} tokens to a text")


def _growth(part: Mapping[str, Any]) -> float:
    """By how much a part may make a text longer."""
    kind, pattern = part.get("type"), part.get("pattern")
    if kind == "Replace":
        text = pattern.get("String") if isinstance(pattern, dict) else pattern
        shortest = len(text.encode()) if isinstance(text, str) else 1
        return max(1.0, len(str(part.get("content", "")).encode()) / max(1, shortest))
    if kind == "Prepend":
        return max(1, len(str(part.get("prepend", "")).encode()))
    if kind == "Precompiled":
        longest = _longest_replacement(part.get("precompiled_charsmap"))
        if longest > _LONGEST_REPLACEMENT:
            raise ValueError(f"its rules make {longest} bytes of one character")
        return max(1.0, longest / 8)
    return _GROWTH.get(str(kind), 1)


def _longest_replacement(charsmap: Any) -> int:
    """In bytes. SentencePiece's rules are the size of a trie in four bytes, the trie, and texts that end with NUL."""
    data = base64.b64decode(charsmap) if isinstance(charsmap, str) else bytes(charsmap or ())
    texts = data[4 + int.from_bytes(data[:4], "little") :]
    return max(map(len, texts.split(b"\0")))


def _added(part: Mapping[str, Any]) -> int:
    """How many tokens a template adds; a text that it has twice is refused."""
    if part.get("type") != "TemplateProcessing":
        return 0
    numbers = {name: len(token["ids"]) for name, token in part["special_tokens"].items()}
    counts = []
    for template in (part["single"], part["pair"]):
        texts = [piece["Sequence"]["id"] for piece in template if "Sequence" in piece]
        if len(set(texts)) < len(texts):
            raise ValueError("its template repeats a text")
        counts.append(sum(numbers[piece["SpecialToken"]["id"]] for piece in template if "SpecialToken" in piece))
    return max(counts)


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
