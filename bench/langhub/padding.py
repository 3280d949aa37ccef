"""Questions and answers as token ids, and the hidden states and logits before each token of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from tokenizers import Tokenizer

from edge_lorahub.bundle.prompt import Prompt

# (question, answer)
Pairs = Sequence[tuple[str, str]]
IdPair = tuple[list[int], list[int]]


def encode(tokenizer: Tokenizer, prompt: Prompt, asked: str, answer: str) -> IdPair:
    """The ids of a prompt, and of its answer up to the end token, as the runtime has them.

    The two are encoded together, so that an answer has the ids that follow this prompt; where a token would span both,
    they are encoded apart.
    """
    question, written = "".join(prompt.source(asked)), prompt.label(answer)
    before, whole = _ids(tokenizer, question), _ids(tokenizer, question + written)
    label = whole[len(before) :] if whole[: len(before)] == before else _ids(tokenizer, written)
    return before, label[: label.index(_ids(tokenizer, prompt.end)[0]) + 1]


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


@dataclass(frozen=True)
class Batch:
    """B texts: what all begin with, once, and the rest of each, padded on the right.

    common: int64 (C,); rest: int64 (B, T); mask: int64 (B, C + T). rows, places: int64 (M,), the text and the place in
    `rest` of the token before each label; labels: int64 (M,), text by text.
    """

    common: torch.Tensor
    rest: torch.Tensor
    mask: torch.Tensor
    rows: torch.Tensor
    places: torch.Tensor
    labels: torch.Tensor


def make_batch(pairs: Sequence[IdPair]) -> Batch:
    """Texts as a batch. The common beginning is at most as long as leaves each prompt a token of its own."""
    columns = zip(*(before[:-1] for before, _ in pairs), strict=False)
    common = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    start = len(common)
    texts = [[*before[start:], *completion] for before, completion in pairs]
    longest = max(map(len, texts))
    rows: list[int] = []
    places: list[int] = []
    labels: list[int] = []
    for row, (before, completion) in enumerate(pairs):
        first = len(before) - start - 1
        rows += [row] * len(completion)
        places += range(first, first + len(completion))
        labels += completion
    return Batch(
        torch.tensor(common, dtype=torch.long),
        torch.tensor([text + [0] * (longest - len(text)) for text in texts]),
        torch.tensor([[1] * (start + len(text)) + [0] * (longest - len(text)) for text in texts]),
        torch.tensor(rows),
        torch.tensor(places),
        torch.tensor(labels),
    )


def label_logits(model: Any, batch: Batch) -> torch.Tensor:
    """The logits before each label, float32 (M, vocabulary), with gradients where they are switched on.

    What all texts begin with is computed once and its keys and values are repeated; the head sees no other token than
    those before labels.
    """
    size = len(batch.rest)
    cache = None
    if len(batch.common):
        cache = model.model(input_ids=batch.common[None], use_cache=True).past_key_values
        cache.batch_repeat_interleave(size)
    states = model.model(
        input_ids=batch.rest, attention_mask=batch.mask, past_key_values=cache, use_cache=cache is not None
    ).last_hidden_state
    logits: torch.Tensor = model.lm_head(states[batch.rows, batch.places]).float()
    return logits
