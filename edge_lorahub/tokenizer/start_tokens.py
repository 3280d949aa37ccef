"""The tokens that a tokenizer puts before any text, by trying it."""

from __future__ import annotations

from tokenizers import Tokenizer

# Texts of which a vocabulary has at least one.
_WORDS = ("a", "A", "0", ".", "the", "e")


def start_tokens(tokenizer: Tokenizer) -> list[int]:
    """Their ids; none where a text begins with its own first token."""
    for text in _WORDS:
        whole, bare = (tokenizer.encode(text, add_special_tokens=added).ids for added in (True, False))
        starts = [place for place in range(len(whole)) if whole[place : place + len(bare)] == bare]
        if bare and starts:
            return list(whole[: starts[0]])
    return []
