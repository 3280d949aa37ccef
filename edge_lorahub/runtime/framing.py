"""Inputs within a prompt, as token ids; what is too long is cut within the input, and never in the prompt."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

from ..bundle.prompt import Prompt, TextRule
from ..errors import EdgeLorahubWarning, SettingsError
from .tokens import Ids, Tokens


def framed_sources(tokens: Tokens, texts: Sequence[str], prompt: Prompt, limit: int, first: int = 1) -> list[Ids]:
    """What the model reads for each input, as token ids: before + input + after + lead.

    It has at most `limit` tokens: of a longer input the start is kept, with a warning, and all of the prompt. Raises
    SettingsError where the prompt alone has more. Warns of texts of which the chat template would make something else.
    first: the first text's number, in warnings and errors.
    """
    if prompt.is_plain:
        return tokens.encode(texts, limit, first)
    warn_of_reserved(texts, prompt.input_rule, "text", first)

    parts = [prompt.source(text) for text in texts]
    wholes = ["".join(part) for part in parts]
    rows = []
    for number, encoding in enumerate(tokens.encodings(wholes, first, added=prompt.adds_special_tokens), first):
        ids = _ids(encoding)
        if len(ids) > limit:
            warnings.warn(
                f"text {number} has {len(ids)} tokens and is cut to {limit}", EdgeLorahubWarning, stacklevel=3
            )
            ids = _cut(tokens, parts[number - first], encoding, limit, number, added=prompt.adds_special_tokens)
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


def _cut(
    tokens: Tokens, part: tuple[str, str, str], encoding: Encoding, limit: int, number: int, *, added: bool
) -> Ids:
    """The tokens of as much of the input's start as there is room for."""
    before, text, after = part
    # where the input's tokens end in it; several of one character end at the same place
    ends = [end - len(before) for _, end in encoding.offsets if len(before) < end <= len(before) + len(text)]
    room = len(ends) - (len(encoding.ids) - limit)
    for end in sorted({0, *(end for place, end in enumerate(ends, 1) if place <= room)}, reverse=True):
        # encoded anew: beside what follows, a shorter text may have other tokens than it had in the longer one
        ids = _ids(tokens.encodings([before + text[:end] + after], number, added=added)[0])
        if len(ids) <= limit:
            return ids
    raise SettingsError(
        f"text {number}: cut to {limit} tokens, but the prompt takes {len(ids)} without an input; allow more input "
        "tokens"
    )


def _ids(encoding: Encoding) -> Ids:
    """The token ids; of a start token that the tokenizer adds and the text has too, one."""
    ids = np.array(encoding.ids, np.int64)
    doubled = len(ids) > 1 and ids[0] == ids[1] and encoding.special_tokens_mask[0] and encoding.offsets[0] == (0, 0)
    return ids[1:] if doubled else ids
