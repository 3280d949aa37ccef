"""How much texts are alike: the cosine of their TF-IDF vectors, of words and of the letters within them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

_WORD = re.compile(r"[^\W_]+")
# Letters in a row within a word, which tell `reversed` from `reverse` less than words do.
_LETTERS = 4


def similarities(text: str, others: Sequence[str]) -> list[float]:
    """The similarity of a text to each of the others, from 0 to 1.

    A term of a text counts 1 + log(its number) times log(n / the number of the others that have it), so that what all
    of them say counts nothing. The result depends on the texts alone.
    """
    counted = [Counter(_terms(other)) for other in others]
    spread = Counter(term for terms in counted for term in terms)
    rarity = {term: math.log(len(others) / number) for term, number in spread.items()}
    wanted = _vector(Counter(_terms(text)), rarity)
    length = _length(wanted)
    found = []
    for terms in counted:
        vector = _vector(terms, rarity)
        product = math.fsum(value * vector[term] for term, value in wanted.items() if term in vector)
        found.append(product / (length * _length(vector)) if product else 0.0)
    return found


def _terms(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.lower()):
        yield f"={word}"  # a word of four letters is another term than these letters
        padded = f" {word} "
        yield from (padded[start : start + _LETTERS] for start in range(len(padded) - _LETTERS + 1))


def _vector(terms: Counter[str], rarity: dict[str, float]) -> dict[str, float]:
    return {term: (1 + math.log(number)) * rarity[term] for term, number in terms.items() if rarity.get(term)}


def _length(vector: dict[str, float]) -> float:
    return math.sqrt(math.fsum(value * value for value in vector.values()))
