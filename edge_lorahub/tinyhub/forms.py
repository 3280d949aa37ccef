"""Word transforms and layouts: how an answer is written down."""

from __future__ import annotations

from collections.abc import Callable

from .words import INVENTED

Words = list[str]

TRANSFORMS: dict[str, Callable[[str], str]] = {
    "none": lambda word: word,
    "upper": str.upper,
    "title": str.title,
    "invented": INVENTED.__getitem__,
    "initial": lambda word: word[0],
}


def _bullets(words: Words) -> Words:
    return [token for word in words for token in ("-", word)]


LAYOUTS: dict[str, Callable[[Words], Words]] = {
    "plain": lambda words: words,
    "sentence": lambda words: ["the", "answer", "is", *words, "."],
    "bracket": lambda words: ["[", *words, "]"],
    "json": lambda words: ["{", "result", ":", *words, "}"],
    "bullets": _bullets,
    "bang": lambda words: [*words, "!"],
}


def write(words: Words, transform: str, layout: str) -> Words:
    """The answer's words in the given transform and layout."""
    return LAYOUTS[layout]([TRANSFORMS[transform](word) for word in words])
