"""The words of the tiny world: things with a kind and a colour, days, numbers, truth values."""

from __future__ import annotations

COLORS = ("red", "yellow", "green", "brown", "black", "white")
KINDS = ("animal", "food", "clothing", "object")

# A row a kind, a column a colour: every pair occurs once, so neither can be guessed from the other.
_THINGS = (
    ("crab", "duck", "frog", "bear", "raven", "swan"),
    ("tomato", "lemon", "pea", "nut", "olive", "rice"),
    ("scarf", "vest", "jacket", "boot", "hat", "sock"),
    ("ruby", "taxi", "leaf", "desk", "wheel", "moon"),
)

NOUNS = tuple(sorted(noun for row in _THINGS for noun in row))
COLOR_OF = {noun: colour for row in _THINGS for noun, colour in zip(row, COLORS, strict=True)}
KIND_OF = {noun: kind for row, kind in zip(_THINGS, KINDS, strict=True) for noun in row}

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NEXT_DAY = {day: DAYS[(i + 1) % len(DAYS)] for i, day in enumerate(DAYS)}

NUMBERS = ("zero", "one", "two", "three", "four", "five")
TRUTH = ("false", "true")
CONNECTIVES = ("and", "or", "not")

# Every word that an operation may return, before the word transform.
ANSWER_WORDS = NOUNS + COLORS + KINDS + DAYS + NUMBERS + TRUTH


def _invented(index: int) -> str:
    """A word of the made-up language: three syllables, different for every index below 1000."""
    onset, nucleus = "bdgklmnprz", "aeiouaeiou"
    digits = (index % 10, index // 10 % 10, (index * 7 + 3) % 10)
    return "".join(onset[d] + nucleus[(d + i) % 5] for i, d in enumerate(digits)) + "x"


INVENTED = {word: _invented(i) for i, word in enumerate(ANSWER_WORDS)}
