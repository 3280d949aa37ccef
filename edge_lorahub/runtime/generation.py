"""Greedy decoding with a key-value cache, in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..bundle.graphs import Variant
from ..composition.adapter import Adapter
from ..composition.stack import plain_inputs
from ..errors import SettingsError
from .binding import Runner
from .session import Model
from .tokens import Ids, buckets

MAX_NEW_TOKENS = 64
MAX_INPUT_TOKENS = 2048
BATCH_SIZE = 16


def generate(
    model: Model,
    texts: Iterable[str],
    *,
    adapter: Adapter | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_input_tokens: int = MAX_INPUT_TOKENS,
    batch_size: int = BATCH_SIZE,
    on_answers: Callable[[int], None] = lambda count: None,
) -> list[str]:
    """The model's answer to each text, by greedy decoding, with the adapter if there is one.

    on_answers is called after every batch with the number of texts that it answered. Raises SettingsError for a
    number out of its range, and for texts that are none, a single one among them.
    """
    return generate_with(
        runner_for(model, adapter),
        texts,
        max_new_tokens=max_new_tokens,
        max_input_tokens=max_input_tokens,
        batch_size=batch_size,
        on_answers=on_answers,
    )


def runner_for(model: Model, adapter: Adapter | None) -> Runner:
    """The model with the adapter, or without LoRA, for any number of calls of what follows; for one thread."""
    if adapter is None:
        # a little faster without LoRA, but not worth a second copy of the weights
        with_lora = model.has_loaded(model.manifest.graph("generate", Variant()))
        return Runner(model, "generate", plain_inputs(model.manifest.slots, "float32" if with_lora else "none"))
    return Runner(model, "generate", adapter.inputs(model.manifest))


def generate_with(
    runner: Runner,
    texts: Iterable[str],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_input_tokens: int = MAX_INPUT_TOKENS,
    batch_size: int = BATCH_SIZE,
    on_answers: Callable[[int], None] = lambda count: None,
    first: int = 1,
) -> list[str]:
    """As `generate`, with whatever the runner's LoRA inputs hold. first: the first text's number in warnings."""
    _check_settings(
        max_new_tokens=(max_new_tokens, 1), batch_size=(batch_size, 1), max_input_tokens=(max_input_tokens, 2)
    )
    tokens = runner.model.tokens
    rows = tokens.encode(_checked(texts), max_input_tokens, first)
    answers: list[Ids] = [np.empty(0, np.int64)] * len(rows)
    cache = runner.model.architecture.cache(runner.model.manifest)
    for members in buckets([len(row) for row in rows], largest=batch_size):
        batch = greedy(runner, [rows[i] for i in members], max_new_tokens, cache)
        for index, answer in zip(members, batch, strict=True):
            answers[index] = answer
        on_answers(len(members))
    return tokens.decode(answers)


def stream_with(
    runner: Runner,
    text: str,
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_input_tokens: int = MAX_INPUT_TOKENS,
    first: int = 1,
) -> Iterator[str]:
    """The answer to one text in pieces, as its words come; together they are what `generate_with` gives for it."""
    _check_settings(max_new_tokens=(max_new_tokens, 1), max_input_tokens=(max_input_tokens, 2))
    model = runner.model
    rows = model.tokens.encode([text], max_input_tokens, first)
    row: list[int] = []

    def answers() -> Iterator[str]:
        for chosen in _steps(runner, rows, max_new_tokens):
            if chosen[0] not in model.manifest.model.end_token_ids:
                row.append(int(chosen[0]))
            yield model.tokens.decode([np.array(row, np.int64)])[0]

    yield from pieces(answers())


def pieces(answers: Iterable[str]) -> Iterator[str]:
    """Of an answer that grows, in its states up to the whole one, what is added and will not change any more.

    Cleaning up spaces may still take away the last space, and with `n ' t` the one before it.
    """
    answer = shown = ""
    for answer in answers:
        settled = answer.rpartition(" ")[0].rpartition(" ")[0]
        if settled.startswith(shown):
            yield settled[len(shown) :]
            shown = settled
    # a tokenizer of another kind may have changed more than that
    yield answer[len(shown) :] if answer.startswith(shown) else f"\n{answer}"


def greedy(runner: Runner, rows: Sequence[Ids], max_new_tokens: int, cache: Any = None) -> list[Ids]:
    """The new token ids of each source of a batch, up to and without the first end token.

    cache: of the architecture's, which serves several batches; None: one of its own.
    """
    ends = runner.model.manifest.model.end_token_ids
    answers = []
    for row in np.stack(list(_steps(runner, rows, max_new_tokens, cache)), axis=1):
        stops = np.flatnonzero(np.isin(row, ends))
        answers.append(row[: stops[0]] if len(stops) else row)
    return answers


def _steps(runner: Runner, rows: Sequence[Ids], max_new_tokens: int, cache: Any = None) -> Iterator[Ids]:
    """The most probable next token of each sequence, (B,), until all have ended."""
    model = runner.model
    config = model.manifest.model
    if cache is None:
        cache = model.architecture.cache(model.manifest)
    decoding = model.architecture.decoding(runner, rows, cache)
    running = np.ones(len(rows), bool)
    best: Ids = np.empty(0, np.int64)
    for position in range(max_new_tokens):
        logits = decoding.step(best) if position else decoding.start()
        best = logits.argmax(axis=1)
        if position == 0 and config.forced_bos_token_id is not None:
            best[:] = config.forced_bos_token_id
        if position == max_new_tokens - 1 and config.forced_eos_token_id is not None:
            best[:] = config.forced_eos_token_id
        # a finished sequence goes on with padding until the whole batch is done
        best[~running] = config.pad_token_id
        running &= ~np.isin(best, config.end_token_ids)
        yield best
        if not running.any():
            break


def _check_settings(**settings: tuple[int, int]) -> None:
    """Each a number, and the least that it may be."""
    for name, (value, least) in settings.items():
        if value < least:
            raise SettingsError(f"{name} must be at least {least}, got {value}")


def _checked(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise SettingsError(f"texts must be a list of texts, got one text; write [{texts!r:.60}]")
    found = list(texts)
    for number, text in enumerate(found, 1):
        if not isinstance(text, str):
            raise SettingsError(f"text {number} must be a text, got a {type(text).__name__}")
    return found
