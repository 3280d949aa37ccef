"""English words, their forms and numbers in words: all that other packages know and the recipe asks them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from edge_lorahub.errors import MissingDependencyError

# A word and one of its forms.
Forms = tuple[tuple[str, str], ...]
# The start of a word in a byte-level vocabulary.
_SPACE = "Ġ"
_SHORTEST = 3
# Longer adjectives have "more" before them.
_LONGEST_ADJECTIVE = 6
# Verbs in the dictionary whose other forms are no verbs that one would write.
_MODALS = frozenset({"can", "may", "must", "shall", "will", "could", "might", "should", "would"})


@dataclass(frozen=True)
class Words:
    """Pairs of a word and one of its forms, the most frequent words first; of a number below 1000 and its name.

    article has nouns with their article before them.
    """

    past: Forms
    gerund: Forms
    plural: Forms
    comparative: Forms
    article: Forms
    number: Forms

    @property
    def nouns(self) -> tuple[str, ...]:
        """Nouns in the singular."""
        return tuple(word for word, _ in self.plural)


def vocabulary_words(vocabulary: Mapping[str, int]) -> list[str]:
    """Lower-case ASCII words of at least three letters that are one token behind a space, by their ids.

    Byte-level pairs are merged by frequency, so that the ids order words by it.
    """
    found = []
    for token, _ in sorted(vocabulary.items(), key=lambda item: item[1]):
        word = token.removeprefix(_SPACE)
        if token.startswith(_SPACE) and len(word) >= _SHORTEST and word.isascii() and word.isalpha() and word.islower():
            found.append(word)
    return found


def read_words(vocabulary: Mapping[str, int]) -> Words:
    """The word lists of the hub.

    A verb and a noun count where they are one token at the front of a line too, so that an answer takes up no pieces,
    and their form is one behind a space, which leaves out pieces of words and rare senses. A noun is nothing else.
    Comparatives are few in any vocabulary, so those are only asked to be regular.

    Raises MissingDependencyError without the packages of the extra `train`.
    """
    try:
        import inflect
        from lemminflect import getAllLemmas, getInflection
        from num2words import num2words
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} makes the hub's data and is not installed; pip install 'edge-lorahub[train]'"
        ) from error

    words = vocabulary_words(vocabulary)
    common = set(words)

    def form(word: str, tag: str) -> str:
        found = getInflection(word, tag, inflect_oov=False)
        return found[0] if found else word

    lemmas: dict[str, dict[str, tuple[str, ...]]] = {word: getAllLemmas(word) for word in words}
    whole = [word for word in words if word in vocabulary]
    verbs = [word for word in whole if lemmas[word].get("VERB") == (word,) and word not in _MODALS]
    nouns = [word for word in whole if lemmas[word] == {"NOUN": (word,)}]
    adjectives = [word for word in words if lemmas[word].get("ADJ") == (word,) and len(word) <= _LONGEST_ADJECTIVE]
    plural = _pairs(nouns, lambda word: form(word, "NNS"), common)
    article = inflect.engine()
    return Words(
        past=_pairs(verbs, lambda word: form(word, "VBD"), common),
        gerund=_pairs(verbs, lambda word: form(word, "VBG"), common),
        plural=plural,
        comparative=tuple((word, more) for word in adjectives if _is_comparative(word, more := form(word, "JJR"))),
        article=tuple((word, str(article.a(word))) for word, _ in plural),
        number=tuple((str(n), num2words(n).replace(" and ", " ")) for n in range(1, 1000)),
    )


def _pairs(words: Iterable[str], form: Callable[[str], str], common: set[str]) -> Forms:
    return tuple((word, found) for word in words if (found := form(word)) != word and found in common)


def _is_comparative(word: str, more: str) -> bool:
    # lemminflect writes "vagueer" for some words in e
    return more.endswith("er") and more[0] == word[0] and not more.endswith("eer") and len(more) > len(word)
