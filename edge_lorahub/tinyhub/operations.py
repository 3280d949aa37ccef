"""Operations: what is done with the input words, before the transform and the layout."""

from __future__ import annotations

from collections.abc import Callable

from .draws import Draws
from .words import COLOR_OF, CONNECTIVES, DAYS, KIND_OF, NEXT_DAY, NOUNS, NUMBERS, TRUTH

Words = list[str]


def _nouns(draws: Draws) -> Words:
    return draws.sample(NOUNS, 3 + draws.below(3))


def _nouns_with_animal(draws: Draws) -> Words:
    """A list in which at least one word is an animal, so that something is kept."""
    while True:
        words = _nouns(draws)
        if any(KIND_OF[word] == "animal" for word in words):
            return words


def _days(draws: Draws) -> Words:
    return draws.sample(DAYS, 2 + draws.below(3))


def _formula(draws: Draws) -> Words:
    """Two or three truth values, each possibly negated, joined by and/or."""
    words: Words = []
    for i in range(2 + draws.below(2)):
        if i:
            words.append(draws.choice(CONNECTIVES[:2]))
        if draws.chance(0.4):
            words.append("not")
        words.append(draws.choice(TRUTH))
    return words


def _evaluate(words: Words) -> Words:
    """The formula's value, from left to right without precedence."""
    value, connective, negate = False, "or", False
    for word in words:
        if word == "not":
            negate = True
        elif word in TRUTH:
            operand = (word == "true") != negate
            value = value and operand if connective == "and" else value or operand
            negate = False
        else:
            connective = word
    return [TRUTH[value]]


def _animals(words: Words) -> Words:
    return [word for word in words if KIND_OF[word] == "animal"]


# name -> (draws an input, computes the answer)
OPERATIONS: dict[str, tuple[Callable[[Draws], Words], Callable[[Words], Words]]] = {
    "copy": (_nouns, lambda words: words),
    "first": (_nouns, lambda words: words[:1]),
    "last": (_nouns, lambda words: words[-1:]),
    "reverse": (_nouns, lambda words: words[::-1]),
    "sort": (_nouns, sorted),
    "rotate": (_nouns, lambda words: [*words[1:], words[0]]),
    "colour": (_nouns, lambda words: [COLOR_OF[word] for word in words]),
    "kind": (_nouns, lambda words: [KIND_OF[word] for word in words]),
    "animals": (_nouns_with_animal, _animals),
    "count": (_nouns, lambda words: [NUMBERS[len(_animals(words))]]),
    "day": (_days, lambda words: [NEXT_DAY[word] for word in words]),
    "boolean": (_formula, _evaluate),
    "rest": (_nouns, lambda words: words[1:]),
}

# No training of the base ever shows this one: only a module knows it.
NEW_OPERATION = "rest"
BASE_OPERATIONS = tuple(name for name in OPERATIONS if name != NEW_OPERATION)
