"""Instructions: two words for each of operation, transform and layout, or filler that says nothing."""

from __future__ import annotations

from .draws import Draws

SEPARATOR = ":"

# Two ways to state a value. The operation that the base never saw has none, on purpose.
PHRASES: dict[str, dict[str, tuple[str, str]]] = {
    "operation": {
        "copy": ("repeat everything", "same again"),
        "first": ("take first", "only beginning"),
        "last": ("take last", "only end"),
        "reverse": ("turn around", "go backwards"),
        "sort": ("by alphabet", "sort them"),
        "rotate": ("move front", "shift left"),
        "colour": ("give colours", "which hue"),
        "kind": ("give categories", "which class"),
        "animals": ("keep animals", "living only"),
        "count": ("count animals", "how many"),
        "day": ("next days", "day after"),
        "boolean": ("work out", "truth value"),
    },
    "transform": {
        "none": ("usual spelling", "unchanged words"),
        "upper": ("in capitals", "all upper"),
        "title": ("leading capital", "like names"),
        "invented": ("made up", "foreign tongue"),
        "initial": ("letter each", "as initials"),
    },
    "layout": {
        "plain": ("nothing around", "bare list"),
        "sentence": ("full sentence", "say it"),
        "bracket": ("within brackets", "square frame"),
        "json": ("machine readable", "as json"),
        "bullets": ("bullet points", "dash items"),
        "bang": ("exclaim loudly", "with bang"),
    },
}

FILLER = (
    "please", "kindly", "now", "then", "so", "well", "here", "there", "today", "friend", "task", "example",
    "input", "data", "question", "hello", "okay", "just", "do", "your", "best", "thanks", "maybe", "some",
)  # fmt: skip


def filler(draws: Draws, count: int) -> list[str]:
    """``count`` words that say nothing about the task."""
    return [draws.choice(FILLER) for _ in range(count)]


def stated(draws: Draws, axis: str, value: str) -> list[str]:
    """One of the value's two phrases."""
    return draws.choice(PHRASES[axis][value]).split()


def silent(draws: Draws) -> list[str]:
    """An instruction that is filler only, in the shape that training knows."""
    return [*filler(draws, 6), SEPARATOR]


def silent_in_new_words(draws: Draws) -> list[str]:
    """An instruction of a length, and with a word order and punctuation, that no training shows."""
    return ["dear", *filler(draws, 4), ",", *filler(draws, 5), "?", SEPARATOR]


WORDINGS = {"filler": silent, "letter": silent_in_new_words}
NEW_WORDS = ("dear", ",", "?")
