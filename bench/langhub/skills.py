"""Skills: what is done with an input. Every input belongs to training or is held out, for all skills alike."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from edge_lorahub.tinyhub.draws import Draws, seed_for

from .lists import ADJECTIVES, KINDS, REVIEWS, SUBJECTS
from .words import Words

# One input and its answer.
Pair = tuple[str, str]
_HELD_OUT_SHARE = 4
# As many pairs as are drawn where the possible ones are very many.
_DRAWN = 1200


def is_held_out(key: str) -> bool:
    """Whether what is named by the key (a word, a number) is kept from all training: one in four."""
    return zlib.crc32(f"held out {key}".encode()) % _HELD_OUT_SHARE == 0


@dataclass(frozen=True)
class Skill:
    """A skill's ways to be stated, and its pairs.

    train and held_out have no input in common. A word that is held out is held out of every skill.
    """

    name: str
    phrases: tuple[str, ...]
    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


def all_skills(words: Words) -> dict[str, Skill]:
    """Every skill by its name."""
    skills = (
        _by_word("past", ("Write the past tense.", "Put the verb in the past tense.", "Past tense?"), words.past),
        _by_word("gerund", ("Write the -ing form.", "Give the present participle.", "With -ing?"), words.gerund),
        _by_word("plural", ("Write the plural.", "Give the plural of the noun.", "More than one?"), words.plural),
        _by_word(
            "comparative",
            ("Write the comparative.", "Give the comparative of the adjective.", "More so?"),
            words.comparative,
        ),
        _by_word(
            "article",
            ("Write it with a or an.", "Put the indefinite article before it.", "A or an?"),
            words.article,
        ),
        _by_word("kind", ("What kind of thing is it?", "Name the category.", "Category?"), KINDS),
        _by_word(
            "number",
            ("Write the number in words.", "Spell the number out.", "In words?"),
            words.number,
        ),
        _drawn("bigger", ("Which is bigger?", "Pick the larger number.", "Larger one?"), _bigger),
        _drawn(
            "reverse",
            ("Reverse the order of the words.", "Write the words from last to first.", "Reversed?"),
            _of_three_words(words.nouns, lambda three: " ".join(three[::-1])),
        ),
        _sentiment(),
    )
    return {skill.name: skill for skill in skills}


def _by_word(name: str, phrases: tuple[str, ...], pairs: Sequence[Pair]) -> Skill:
    """The pairs in random order, so that the first of them are a fair sample."""
    mixed = Draws(seed_for(name, 0)).sample(pairs, len(pairs))
    return Skill(
        name,
        phrases,
        tuple(pair for pair in mixed if not is_held_out(pair[0])),
        tuple(pair for pair in mixed if is_held_out(pair[0])),
    )


def _drawn(name: str, phrases: tuple[str, ...], draw: Callable[[Draws, bool], Pair]) -> Skill:
    """Pairs that `draw` makes from parts that are all held out, or none of them."""
    draws = Draws(seed_for(name, 0))
    parts = []
    for held_out, count in ((False, _DRAWN), (True, _DRAWN // _HELD_OUT_SHARE)):
        parts.append(tuple(dict.fromkeys(draw(draws, held_out) for _ in range(count))))
    return Skill(name, phrases, *parts)


def _bigger(draws: Draws, held_out: bool) -> Pair:
    numbers = [n for n in range(10, 1000) if is_held_out(str(n)) is held_out]
    first, second = draws.sample(numbers, 2)
    return f"{first} or {second}", str(max(first, second))


def _of_three_words(
    words: Sequence[str], answer: Callable[[list[str]], str], most: int = 600
) -> Callable[[Draws, bool], Pair]:
    parts = {held: [word for word in words[:most] if is_held_out(word) is held] for held in (False, True)}

    def draw(draws: Draws, held_out: bool) -> Pair:
        three = draws.sample(parts[held_out], 3)
        return " ".join(three), answer(three)

    return draw


def _sentiment() -> Skill:
    """Held out by adjective."""
    draws = Draws(seed_for("sentiment", 0))
    found: dict[bool, list[Pair]] = {False: [], True: []}
    for (adjective, sentiment), subject, review in product(ADJECTIVES, SUBJECTS, REVIEWS):
        found[is_held_out(adjective)].append((review.format(subject, adjective), sentiment))
    train, held_out = (tuple(draws.sample(found[held], len(found[held]))) for held in (False, True))
    return Skill("sentiment", ("Is it positive or negative?", "Name the sentiment.", "Sentiment?"), train, held_out)
