"""A GGUF file's vocabulary: its tokens, their kinds, and the special ones by id.

What llama.cpp makes of a file's token types and of the texts of tokens is part of what a file means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_lorahub.errors import CheckpointError

from .metadata import Metadata
from .special_texts import ENDS, MIDDLE, OTHERS

# Token types by their number in a file.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
# Tokens of these kinds are found in a text before it is cut into words.
MATCHED = (UNKNOWN, CONTROL, USER_DEFINED)
_KEY = "tokenizer.ggml."
# Characters of a token, of all together (Gemma's 262,144 have 2 million) and of those that are found as they are: the
# work on a token grows with the square of its length.
_LONGEST, _MOST, _MOST_MATCHED = 1000, 8_000_000, 200_000


@dataclass(frozen=True)
class SpecialTokens:
    """Special tokens by id, None where there is none; `ends` are all that end a text, `eos` first."""

    bos: int | None
    eos: int | None
    unknown: int | None
    pad: int | None
    ends: tuple[int, ...]
    add_bos: bool
    add_eos: bool


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their types by id. ids has the tokens' ids by their texts, ends those that end a text by their texts.

    A token of one of these texts is a control token for llama.cpp. It ends a text only if it is one in the file: Gemma
    has `</s>` as HTML's.
    """

    tokens: Sequence[str]
    kinds: Sequence[int]
    ids: Mapping[str, int]
    ends: frozenset[int]
    path: Path

    def matched(self) -> list[int]:
        """The tokens that are found in a text as they are, by id."""
        return [number for number, kind in enumerate(self.kinds) if kind in MATCHED]


def read_vocabulary(metadata: Metadata, vocab_size: int) -> Vocabulary:
    """Reads the tokens of a model with so many rows in its embedding. Raises CheckpointError."""
    path = metadata.path
    found = metadata.texts(f"{_KEY}tokens")
    if not found:
        raise CheckpointError(f"{path}: no {_KEY}tokens: a file without a tokenizer cannot be exported")
    if len(found) > vocab_size:
        raise CheckpointError(f"{path}: {len(found)} tokens, but the embedding has {vocab_size} rows")
    tokens = [token or f"[EMPTY_{number}]" for number, token in enumerate(found)]
    ids = {token: number for number, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        twice = Counter(tokens).most_common(1)[0][0]
        raise CheckpointError(f"{path}: the token {twice!r:.80} is there twice, so its id cannot be told")
    types = metadata.numbers(f"{_KEY}token_type", "iu")
    kinds = [NORMAL] * len(tokens) if types is None else types.tolist()
    if len(kinds) < len(tokens) or not all(0 <= kind <= BYTE for kind in kinds):
        raise CheckpointError(f"{path}: {_KEY}token_type must have a type from 0 to {BYTE} for each token")
    kinds = kinds[: len(tokens)]
    if any(name in (metadata.text("general.name") or "").lower() for name in ("phi-3", "phi3")):
        raise CheckpointError(f"{path}: the tokenizer of Phi-3, which drops spaces after its tokens, is not supported")
    ends = frozenset(ids[token] for token in ENDS if token in ids and kinds[ids[token]] == CONTROL)
    for token in _controls(metadata, ids, kinds):
        kinds[ids[token]] = CONTROL
    lengths = [len(token) for token in tokens]
    matched = sum(length for length, kind in zip(lengths, kinds, strict=True) if kind in MATCHED)
    if max(lengths) > _LONGEST or sum(lengths) > _MOST or matched > _MOST_MATCHED:
        raise CheckpointError(
            f"{path}: tokens of {sum(lengths)} characters together, of {max(lengths)} at most: too many"
        )
    return Vocabulary(tokens, kinds, ids, ends, path)


def _controls(metadata: Metadata, ids: Mapping[str, int], kinds: Sequence[int]) -> list[str]:
    """The tokens that are control tokens by their texts."""
    if other := [token for token in OTHERS if token in ids and kinds[ids[token]] not in MATCHED]:
        raise CheckpointError(f"{metadata.path}: the token {other[0]} that is no control token is not supported")
    controls = [token for token in ENDS if token in ids]
    for keys, texts in MIDDLE.items():
        if any(_KEY + key in metadata for key in keys):
            continue
        there = [text for text in texts if text in ids]
        # llama.cpp takes the first of them in an order that it does not say
        if len(there) > 1 and any(kinds[ids[text]] not in MATCHED for text in there):
            raise CheckpointError(f"{metadata.path}: which of {' and '.join(there)} is a control token cannot be told")
        controls += there if len(there) == 1 else []
    return controls


def special_tokens(metadata: Metadata, vocabulary: Vocabulary, *, add_bos: bool) -> SpecialTokens:
    """The special tokens; add_bos is what holds where the file does not say. Raises CheckpointError."""
    found = {name: _special(metadata, vocabulary, name) for name in ("bos", "eos", "eot", "eom", "unknown", "padding")}
    ends = vocabulary.ends | {number for name in ("eos", "eot", "eom") if (number := found[name]) is not None}
    if not ends:
        raise CheckpointError(f"{metadata.path}: no token that ends a text: {_KEY}eos_token_id is missing")
    special = SpecialTokens(
        bos=found["bos"],
        eos=found["eos"],
        unknown=found["unknown"],
        pad=found["padding"],
        ends=tuple(sorted(ends, key=lambda number: (number != found["eos"], number))),
        add_bos=bool(metadata.flag(f"{_KEY}add_bos_token", add_bos)),
        add_eos=bool(metadata.flag(f"{_KEY}add_eos_token", False)),
    )
    for name, number, added in (("bos", special.bos, special.add_bos), ("eos", special.eos, special.add_eos)):
        if added and number is None:
            raise CheckpointError(f"{metadata.path}: a text gets a {name} token, but {_KEY}{name}_token_id is missing")
    return special


def _special(metadata: Metadata, vocabulary: Vocabulary, name: str) -> int | None:
    key = f"{_KEY}{name}_token_id"
    number = metadata.whole_or_none(key)
    if number is not None and number >= len(vocabulary.tokens):
        raise CheckpointError(f"{metadata.path}: {key} is {number}, but there are {len(vocabulary.tokens)} tokens")
    return number
