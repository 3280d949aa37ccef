"""Special tokens in a text: where `tokenizers` and llama.cpp would find others, the vocabulary is refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer

from edge_lorahub.errors import CheckpointError

from .gguf_vocabulary import USER_DEFINED, Vocabulary

# Overlapping pairs that are tried; Gemma has 1,860, of its runs of spaces and of new lines.
_MOST_PAIRS = 20_000
_Found = list[tuple[int, str]]


def add_matched(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    """Makes a tokenizer find the tokens that are found as they are: those that the user defined, and special ones."""
    _check_overlaps([vocabulary.tokens[number] for number in vocabulary.matched()], vocabulary)
    tokenizer.add_tokens(
        [
            AddedToken(vocabulary.tokens[number], special=vocabulary.kinds[number] != USER_DEFINED, normalized=False)
            for number in vocabulary.matched()
        ]
    )


def _check_overlaps(tokens: Sequence[str], vocabulary: Vocabulary) -> None:
    """llama.cpp looks for the longest token first, in all of a text; `tokenizers` for the longest one at each place.

    That makes a difference only where one token's end is another's beginning.
    """
    beginnings = defaultdict(set)  # the tokens by each of their beginnings, the whole of it too
    for token in tokens:
        for length in range(1, len(token) + 1):
            beginnings[token[:length]].add(token)
    pairs = (
        (token, other, other[len(token) - start :])
        for token in tokens
        for start in range(1, len(token))
        for other in beginnings.get(token[start:], ())
    )
    for count, (token, other, rest) in enumerate(pairs):
        text = token + rest
        there = [each for first in set(text) for each in beginnings.get(first, ()) if each in text]
        if count >= _MOST_PAIRS or _leftmost(text, there) != _longest_first(text, there, other):
            raise CheckpointError(
                f"{vocabulary.path}: the tokens {token!r:.80} and {other!r:.80} overlap in {text!r:.80}, which "
                "llama.cpp and the library tokenizers read differently"
            )


def _leftmost(text: str, tokens: Sequence[str]) -> _Found:
    found: _Found = []
    position = 0
    while position < len(text):
        longest = max((token for token in tokens if text.startswith(token, position)), key=len, default="")
        if longest:
            found.append((position, longest))
        position += len(longest) or 1
    return found


def _longest_first(text: str, tokens: Sequence[str], first: str) -> _Found:
    """Of equally long ones `first` first: llama.cpp does not say which."""
    found: _Found = []
    pieces = [(0, text)]
    for token in sorted(tokens, key=lambda token: (-len(token.encode()), token != first)):
        waiting, pieces = pieces, []
        while waiting:
            start, piece = waiting.pop()
            before, match, after = piece.partition(token)
            if match:
                found.append((start + len(before), token))
                waiting.append((start + len(before) + len(token), after))
                pieces.append((start, before))
            else:
                pieces.append((start, piece))
    return sorted(found)
