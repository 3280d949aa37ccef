"""Inputs within a prompt, as token ids; what is too long is cut within the input, and never in the prompt."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from tokenizers import Encoding

from ..bundle.prompt import Prompt, TextRule
from ..errors import EdgeLorahubWarning, SettingsError
from .tokens import Ids, Tokens

# Texts, and the first one's number -> of each the tokenizer's encoding, and the ids that the model reads of it.
Reader = Callable[[Sequence[str], int], list[tuple[Encoding, Ids]]]


def framed_sources(tokens: Tokens, texts: Sequence[str], prompt: Prompt, limit: int, first: int = 1) -> list[Ids]:
    """As `sources_within`, with what the tokenizer puts around any text, before and behind it."""

    def read(wholes: Sequence[str], number: int) -> list[tuple[Encoding, Ids]]:
        return [(one, _ids(one)) for one in tokens.encodings(wholes, number, added=prompt.adds_special_tokens)]

    return tokens.encode(texts, limit, first) if prompt.is_plain else sources_within(texts, prompt, limit, read, first)


def sources_within(texts: Sequence[str], prompt: Prompt, limit: int, read: Reader, first: int = 1) -> list[Ids]:
    """What the model reads for each input, as token ids: before + input + after + lead.

    It has at most `limit` tokens: of a longer input the start is kept, with a warning, and all of the prompt. Raises
    SettingsError where the prompt leaves no room for it. Warns of texts of which the chat template would make something
    else. first: the first text's number, in warnings and errors.
    """
    warn_of_reserved(texts, prompt.input_rule, "text", first)
    parts = [prompt.source(text) for text in texts]
    wholes = ["".join(part) for part in parts]
    rows = []
    for number, (encoding, ids) in enumerate(read(wholes, first), first):
        if len(ids) > limit:
            cut = _cut(parts[number - first], encoding, len(ids) - limit, limit, read, number)
            warnings.warn(
                f"text {number} has {len(ids)} tokens and is cut to {limit}", EdgeLorahubWarning, stacklevel=4
            )
            rows.append(cut)
        else:
            rows.append(ids)
    return rows


def warn_of_reserved(texts: Sequence[str], rule: TextRule, what: str, first: int = 1) -> None:
    """Warns, once, of texts with something in them that a chat template would not put in as it is."""
    found = [(number, one) for number, text in enumerate(texts, first) if (one := rule.reserved_in(text)) is not None]
    if found:
        number, one = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        how = f"has {one!r:.60} in it" if one else "is empty"
        warnings.warn(
            f"{what} {number}{more} {how}, of which the chat template would make something else; it is put in as it is",
            EdgeLorahubWarning,
            stacklevel=4,
        )


def _cut(part: tuple[str, str, str], encoding: Encoding, excess: int, limit: int, read: Reader, number: int) -> Ids:
    """The tokens of as much of the input's start as there is room for."""
    before, text, after = part
    # where the input's tokens end in it; several of one character end at the same place
    ends = [end - len(before) for _, end in encoding.offsets if len(before) < end <= len(before) + len(text)]
    room = len(ends) - excess
    for end in sorted({end for place, end in enumerate(ends, 1) if place <= room}, reverse=True):
        # encoded anew: beside what follows, a shorter text may have other tokens than it had in the longer one
        ((_, ids),) = read([before + text[:end] + after], number)
        if len(ids) <= limit:
            return ids
    ((_, ids),) = read([before + after], number)
    raise SettingsError(
        f"text {number}: its prompt alone has {len(ids)} tokens, which leaves no room for the input in {limit}; allow "
        "more input tokens"
    )


def _ids(encoding: Encoding) -> Ids:
    """The token ids; of a start token that the tokenizer adds and the text has too, one."""
    ids = np.array(encoding.ids, np.int64)
    doubled = len(ids) > 1 and ids[0] == ids[1] and encoding.special_tokens_mask[0] and encoding.offsets[0] == (0, 0)
    return ids[1:] if doubled else ids
