"""SentencePiece's byte-pair vocabularies with scores (tokenizer.ggml.model "llama") as a tokenizer.

Of all neighbors in a text that are a token together, those of the highest score are joined first, the leftmost of equal
ones. The library tokenizers joins pairs by their rank in a list, so that each way to cut a token in two becomes a pair.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers

from edge_lorahub.errors import CheckpointError

from ..source.tokenizer_conversion import TEXTS
from .gguf_vocabulary import BYTE, MATCHED, UNKNOWN, Vocabulary
from .matching import add_matched
from .metadata import Metadata

SPACE = "\u2581"
_SCORES = "tokenizer.ggml.scores"
_PREFIX = "tokenizer.ggml.add_space_prefix"
# Tokens, evenly of the whole vocabulary, with which the pairs are tried.
_TRIED = 1000


def piece_tokenizer(metadata: Metadata, vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer, without a post-processor. Raises CheckpointError for what cannot be rebuilt exactly."""
    if metadata.flag("tokenizer.ggml.remove_extra_whitespaces"):
        raise CheckpointError(f"{metadata.path}: removing extra spaces is not supported with tokens by score")
    _check_bytes(vocabulary)
    scores = _scores(metadata, vocabulary)
    merges = _merges(scores, vocabulary)
    prefix = bool(metadata.flag(_PREFIX, True))
    unknown = next((t for t, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True) if kind == UNKNOWN), None)
    tokenizer = Tokenizer(models.BPE(dict(vocabulary.ids), merges, unk_token=unknown, byte_fallback=True))
    _check_pairs(tokenizer, scores, merges, vocabulary)
    spaces = [normalizers.Replace(" ", SPACE)]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), *spaces] if prefix else spaces)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)
    add_matched(tokenizer, vocabulary)
    return tokenizer


def _check_bytes(vocabulary: Vocabulary) -> None:
    """Each byte must be a token, by which characters are written that are none."""
    for byte in range(256):
        number = vocabulary.ids.get(f"<0x{byte:02X}>")
        if number is None or vocabulary.kinds[number] != BYTE:
            raise CheckpointError(f"{vocabulary.path}: no token for the byte 0x{byte:02X}: not supported")


def _scores(metadata: Metadata, vocabulary: Vocabulary) -> Mapping[str, float]:
    """The scores of the tokens that can be joined of others: those that are found as they are never are."""
    found = metadata.numbers(_SCORES, "iuf")
    if found is None or len(found) < len(vocabulary.tokens) or not np.isfinite(found).all():
        raise CheckpointError(f"{metadata.path}: {_SCORES} must have a finite number for each token")
    return {
        token: float(found[number])
        for number, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True))
        if kind not in MATCHED or SPACE in token
    }


def _merges(scores: Mapping[str, float], vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every way to cut a token into two others, best first. Tokens that can be made must have different scores."""
    ways = {token: cuts for token in scores if (cuts := list(_cuts(token, vocabulary.ids)))}
    for token, cuts in ways.items():
        if lone := [part for cut in cuts for part in cut if part not in vocabulary.ids]:
            raise CheckpointError(
                f"{vocabulary.path}: the character {lone[0]!r} of the token {token!r:.80} is no token itself, which is "
                "not supported"
            )
    ordered = sorted(ways, key=lambda token: -scores[token])
    for token, other in itertools.pairwise(ordered):
        if scores[token] == scores[other]:
            raise CheckpointError(
                f"{vocabulary.path}: the tokens {token!r:.80} and {other!r:.80} have the same score {scores[token]:g}, "
                "so which is joined first depends on where they are; convert the model again from its tokenizer.model"
            )
    return [way for token in ordered for way in ways[token]]


def _cuts(token: str, ids: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """(left, right), each a token or a character, the longest left first: a run is joined from its left."""
    for length in range(len(token) - 1, 0, -1):
        left, right = token[:length], token[length:]
        if (left in ids or length == 1) and (right in ids or len(right) == 1):
            yield left, right


def _check_pairs(
    tokenizer: Tokenizer, scores: Mapping[str, float], merges: Sequence[tuple[str, str]], vocabulary: Vocabulary
) -> None:
    """Tries texts, made of tokens that can be cut in several ways among others, by the definition above."""
    made = list(dict.fromkeys(left + right for left, right in merges))
    ambiguous = [pair for pair, after in itertools.pairwise(merges) if sum(map(len, pair)) == sum(map(len, after))]
    texts = list(TEXTS)
    for token in made[:: -(-len(made) // _TRIED) or 1]:
        texts += [token, token + token]
    for left, right in ambiguous[:: -(-len(ambiguous) // _TRIED) or 1]:
        texts += [left + left + right, left + right + right, right + left + right + left]
    for text in (text.replace(" ", SPACE) for text in texts):
        if tokenizer.encode(text).tokens != list(_joined(text, scores, vocabulary.ids)):
            raise CheckpointError(
                f"{vocabulary.path}: the tokenizer cannot be rebuilt exactly ({text!r:.80} becomes other tokens)"
            )


def _joined(text: str, scores: Mapping[str, float], ids: Mapping[str, int]) -> Iterator[str]:
    """The tokens of a text by definition: the pair of the highest score first, the leftmost of equal ones."""
    symbols: list[str] = list(text)
    after = [*range(1, len(symbols)), -1] if symbols else []
    before = list(range(-1, len(symbols) - 1))
    waiting: list[tuple[float, int, int, str]] = []

    def consider(left: int, right: int) -> None:
        if left >= 0 and right >= 0 and (joined := symbols[left] + symbols[right]) in scores:
            heapq.heappush(waiting, (-scores[joined], left, right, joined))

    for left in range(len(symbols) - 1):
        consider(left, left + 1)
    while waiting:
        _, left, right, joined = heapq.heappop(waiting)
        if not symbols[left] or not symbols[right] or symbols[left] + symbols[right] != joined:
            continue  # one of them was joined with another in the meantime
        symbols[left], symbols[right] = joined, ""
        after[left] = after[right]
        if after[left] >= 0:
            before[after[left]] = left
        consider(before[left], left)
        consider(left, after[left])
    for symbol in filter(None, symbols):
        if symbol in ids:
            yield symbol
        else:
            yield from (f"<0x{byte:02X}>" for byte in symbol.encode())
