"""Examples as token ids: a prompt's texts around the input, and the answer with what ends it.

A prompt begins with the tokenizer's start token, once, also where its first text spells it out; a chat template's texts
have it or not, as the template says. Nothing else is added: what the tokenizer puts behind a text would end it before
the answer. Special tokens that stand in a text are read as such, as transformers reads them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

from ...bundle.prompt import Prompt
from ...errors import EdgeLorahubWarning, ExamplesError
from ..framing import Reader, sources_within
from ..tokens import Ids, Tokens


def encode_prompts(tokens: Tokens, prompt: Prompt, texts: Sequence[str], limit: int, first: int = 1) -> list[Ids]:
    """The token ids of each prompt, (T,), of so many at most: as `framing.sources_within`.

    Raises ExamplesError for a text without any token too.
    """
    rows = sources_within(texts, prompt, limit, _reader(tokens, prompt), first)
    for number, row in enumerate(rows, first):
        if not len(row):
            raise ExamplesError(
                f"text {number} gives no tokens, and this model's prompts begin with none, so there is nothing to "
                "answer; leave it out"
            )
    return rows


def encode_answers(
    tokens: Tokens, prompt: Prompt, pairs: Sequence[tuple[str, str]], limit: int, ends: Sequence[int]
) -> list[Ids]:
    """The token ids of each answer after its input, (S,), up to the first token that ends it.

    pairs: (input, answer). Read in one piece with the prompt where that changes no token of it, as the model would go
    on; else apart. ends: the tokens that end an answer, of which the first is added where the prompt's own end has
    none. An answer of more than `limit` tokens is cut, and keeps its end, with a warning.
    """
    prompts = ["".join(prompt.source(text)) for text, _ in pairs]
    answers = [prompt.label(answer) for _, answer in pairs]
    before = tokens.encodings(prompts, added=False)
    joined = tokens.encodings([a + b for a, b in zip(prompts, answers, strict=True)], added=False)
    apart = tokens.encodings(answers, added=False)
    found = []
    for number, (prefix, whole, alone) in enumerate(zip(before, joined, apart, strict=True), 1):
        count = len(prefix.ids)
        ids = whole.ids[count:] if whole.ids[:count] == prefix.ids else alone.ids
        stop = next((place for place, token in enumerate(ids) if token in ends), None)
        ids = [*ids, ends[0]] if stop is None else ids[: stop + 1]
        if len(ids) > limit:
            warnings.warn(
                f"the answer of text {number} has {len(ids)} tokens and is cut to {limit}",
                EdgeLorahubWarning,
                stacklevel=4,
            )
            ids = [*ids[: limit - 1], ids[-1]]
        found.append(np.array(ids, np.int64))
    return found


def _reader(tokens: Tokens, prompt: Prompt) -> Reader:
    start = tokens.start_ids if prompt.adds_special_tokens else []

    def read(texts: Sequence[str], first: int) -> list[tuple[Encoding, Ids]]:
        encodings = tokens.encodings(texts, first, added=False)
        return [(one, np.array(_with_start(one.ids, start), np.int64)) for one in encodings]

    return read


def _with_start(ids: list[int], start: list[int]) -> list[int]:
    return list(ids) if ids[: len(start)] == start else [*start, *ids]
