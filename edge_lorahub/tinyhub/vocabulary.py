"""Every token of the tiny model, in the order of its ids."""

from __future__ import annotations

from .forms import TRANSFORMS
from .wording import FILLER, NEW_WORDS, PHRASES, SEPARATOR
from .words import ANSWER_WORDS, CONNECTIVES

PAD, EOS, UNK = "<pad>", "</s>", "<unk>"  # ids 0, 1, 2, as in T5 checkpoints
_MARKS = (SEPARATOR, "the", "answer", "is", ".", "[", "]", "{", "result", "}", "-", "!")


def vocabulary() -> list[str]:
    """The tokens; a token's index is its id."""
    spoken = [phrase for axis in PHRASES.values() for pair in axis.values() for phrase in pair]
    phrases = [word for phrase in spoken for word in phrase.split()]
    written = [spell(word) for spell in TRANSFORMS.values() for word in ANSWER_WORDS]
    # A dict keeps the first occurrence of each word, in order.
    return list(dict.fromkeys([PAD, EOS, UNK, *_MARKS, *CONNECTIVES, *written, *phrases, *FILLER, *NEW_WORDS]))
