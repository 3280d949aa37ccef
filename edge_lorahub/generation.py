"""Greedy decoding with a key-value cache, in batches of similar length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .adapter import Adapter
from .decoding import Cache, Decoding
from .errors import SettingsError
from .runs import Encoded, Runner
from .session import Model
from .stack import plain_inputs
from .tokens import Ids, buckets

MAX_NEW_TOKENS = 64
MAX_INPUT_TOKENS = 2048
BATCH_SIZE = 16


def generate(
    model: Model,
    texts: Sequence[str],
    *,
    adapter: Adapter | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_input_tokens: int = MAX_INPUT_TOKENS,
    batch_size: int = BATCH_SIZE,
) -> list[str]:
    """The model's answer to each text, by greedy decoding, with the adapter if there is one."""
    if adapter is None:
        inputs = plain_inputs(model.manifest.slots, "none" if model.lora == "none" else "float32")
    else:
        inputs = adapter.inputs(model.manifest)
    runner = Runner(model, inputs)
    return generate_with(
        runner, texts, max_new_tokens=max_new_tokens, max_input_tokens=max_input_tokens, batch_size=batch_size
    )


def generate_with(
    runner: Runner,
    texts: Sequence[str],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_input_tokens: int = MAX_INPUT_TOKENS,
    batch_size: int = BATCH_SIZE,
) -> list[str]:
    """As `generate`, with whatever the runner's LoRA inputs hold."""
    least = {
        "max_new_tokens": (max_new_tokens, 1),
        "batch_size": (batch_size, 1),
        "max_input_tokens": (max_input_tokens, 2),
    }
    for name, (value, bound) in least.items():
        if value < bound:
            raise SettingsError(f"{name} must be at least {bound}, got {value}")
    tokens = runner.model.tokens
    rows = tokens.encode(texts, max_input_tokens)
    answers: list[Ids] = [np.empty(0, np.int64)] * len(rows)
    cache = Cache(runner.model.manifest.model)
    for members in buckets([len(row) for row in rows], largest=batch_size):
        batch = greedy(runner, *tokens.pad([rows[i] for i in members]), max_new_tokens, cache)
        for index, answer in zip(members, batch, strict=True):
            answers[index] = answer
    return tokens.decode(answers)


def greedy(runner: Runner, ids: Ids, mask: Ids, max_new_tokens: int, cache: Cache | None = None) -> list[Ids]:
    """The new token ids of each sequence of a batch, up to and without the end token."""
    config = runner.model.manifest.model
    encoded = Encoded(runner, ids, mask)
    encoded.run()
    decoding = Decoding(runner, encoded, cache)
    step = np.full((len(ids), 1), config.decoder_start_token_id, np.int64)
    chosen: list[Ids] = []
    running = np.ones(len(ids), bool)
    for _ in range(max_new_tokens):
        best = decoding.step(step).argmax(axis=1)
        # a finished sequence goes on with padding until the whole batch is done
        best[~running] = config.pad_token_id
        running &= best != config.eos_token_id
        chosen.append(best)
        if not running.any():
            break
        step = best[:, None].astype(np.int64)
    answers = []
    for row in np.stack(chosen, axis=1):
        ends = np.flatnonzero(row == config.eos_token_id)
        answers.append(row[: ends[0]] if len(ends) else row)
    return answers
