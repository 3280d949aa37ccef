"""Tokens that were added to a tokenizer after its training, as the settings beside its files name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from edge_lorahub.errors import CheckpointError

from .json_fields import flag, whole
from .tokenizer_settings import OLDER_TOKENS, SETTINGS, read_settings

_ADDED = "added_tokens.json"
_SPECIAL_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MORE_SPECIAL = "additional_special_tokens"
# transformers takes minutes to add a hundred thousand, and Gemma 3, which has the most, has 6,000.
MOST_TOKENS = 10_000


def check_added_tokens(folder: Path) -> None:
    """Raises CheckpointError for added tokens that are none, and for more of them than any tokenizer has."""
    _with_ids(folder)


def add_named_tokens(tokenizer: Tokenizer, folder: Path, *, converted: bool = False) -> None:
    """Adds the tokens that the settings name, as transformers does when it reads a tokenizer.json.

    What added_tokens_decoder says of how a token is found goes before what the tokenizer's own file says. Raises
    CheckpointError for tokens that are none, and where one has another id than the settings say. Of ids in a
    tokenizer.json that one is right; converted: there was none.
    """
    found, special, decisive = _with_ids(folder)
    named = [(number, found[number]) for number in sorted(found) if found[number].content]
    present = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    known = present.union(token.content for _, token in named)
    others = [token for text, token in special.items() if text not in known]
    tokenizer.add_tokens([*(token for _, token in named if decisive or token.content not in present), *others])
    for number, token in named:
        given = tokenizer.token_to_id(token.content)
        if given != number and (converted or token.content not in present):
            raise CheckpointError(
                f"{folder}: the added token {token.content!r:.80} has id {number} by the tokenizer's settings, and id "
                f"{given} by its own file; take the files of one tokenizer"
            )


def _with_ids(folder: Path) -> tuple[dict[int, AddedToken], dict[str, AddedToken], bool]:
    """The tokens that are named with an id, and those that are named as special ones, by their texts.

    Last, whether the former are those of added_tokens_decoder in tokenizer_config.json, which goes before
    special_tokens_map.json and added_tokens.json.
    """
    path, settings = folder / SETTINGS, read_settings(folder)
    decoder = settings.get("added_tokens_decoder")
    special = dict(_special_tokens(settings, path))
    if decoder is None:
        special |= dict(_special_tokens(read_settings(folder, OLDER_TOKENS), folder / OLDER_TOKENS))
        path, ids = folder / _ADDED, read_settings(folder, _ADDED)
        _check_count(ids, path)
        found = {
            whole(ids, text, path, least=0): _token({"content": text, "normalized": text not in special}, path)
            for text in ids
        }
    elif isinstance(decoder, dict):
        _check_count(decoder, path)
        found = {_id(number, path): _token(token, path) for number, token in decoder.items()}
    else:
        raise CheckpointError(f"{path}: added_tokens_decoder must be an object, got {decoder!r:.80}")
    for token in found.values():
        token.special = token.special or token.content in special
    return found, special, decoder is not None


def _special_tokens(fields: Mapping[str, Any], path: Path) -> Iterator[tuple[str, AddedToken]]:
    more = fields.get(_MORE_SPECIAL)
    if more is not None and not isinstance(more, (list, dict)):
        raise CheckpointError(f"{path}: {_MORE_SPECIAL} must be a list, got {more!r:.80}")
    _check_count(more or (), path)
    others = more.values() if isinstance(more, dict) else more or ()
    for token in (*(fields.get(key) for key in _SPECIAL_KEYS), *others):
        if token:
            one = _token({"content": token} if isinstance(token, str) else token, path, special=True)
            yield one.content, one


def _token(token: Any, path: Path, *, special: bool = False) -> AddedToken:
    content = token.get("content") if isinstance(token, dict) else None
    if not isinstance(content, str):
        raise CheckpointError(f"{path}: an added token must be an object with its text as 'content', got {token!r:.80}")
    if any("\ud800" <= character <= "\udfff" for character in content):
        raise CheckpointError(f"{path}: the added token {content!r:.80} is not valid Unicode (a lone surrogate)")
    special = special or bool(flag(token, "special", path, default=False))
    flags = {key: bool(flag(token, key, path, default=False)) for key in ("lstrip", "rstrip", "single_word")}
    normalized = flag(token, "normalized", path, default=not special)
    return AddedToken(content, normalized=bool(normalized), special=special, **flags)


def _id(number: str, path: Path) -> int:
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        raise CheckpointError(f"{path}: {number!r:.40} in added_tokens_decoder is no token's id")
    return int(number)


def _check_count(tokens: Any, path: Path) -> None:
    if len(tokens) > MOST_TOKENS:
        raise CheckpointError(f"{path}: {len(tokens)} added tokens, more than any tokenizer has")
