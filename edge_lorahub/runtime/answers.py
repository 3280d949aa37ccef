"""Answers to texts as token ids: chosen token by token with a key-value cache, in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import BundleError, SettingsError, warn
from .architecture import Bools, Float32
from .binding import Runner
from .sampling import Chooser, Sampling
from .session import Model
from .stopping import Stops, StopWatch
from .tokens import Ids, buckets


def answered(
    runner: Runner,
    rows: Sequence[Ids],
    *,
    max_new_tokens: int,
    batch_size: int,
    sampling: Sampling | None = None,
    stops: Stops | None = None,
    first: int = 1,
    finite: bool = True,
    is_known: Callable[[int], bool] = lambda place: False,
) -> Iterator[tuple[list[int], list[str]]]:
    """The answers to sources, batch by batch: their places in `rows`, and the texts.

    Arguments are those of `generation.generate_with`. is_known: whether the answer to the source at a place is there
    already; a batch of such alone is not answered, and has no texts. Which are in a batch does not depend on it.
    """
    model = runner.model
    model.architecture.room(model.manifest, rows)  # a source that is too long is told before the others are answered
    answers: dict[int, Ids] = {}
    cache = model.architecture.cache(model.manifest)
    for members in buckets([len(row) for row in rows], largest=batch_size):
        if all(map(is_known, members)):
            yield members, []
            continue
        batch = [rows[i] for i in members]
        chooser = chooser_of(model, batch, [first + i for i in members], sampling)
        watch = StopWatch(stops, model.tokens, len(batch)) if stops else None
        found = _answers(
            steps(runner, batch, max_new_tokens, cache, chooser, watch, finite), model.manifest.model.end_token_ids
        )
        answers.update(zip(members, found, strict=True))
        texts = model.tokens.decode(found)
        yield members, [stops.cut(text) for text in texts] if stops else texts
    warn_of_cut(model, [rows[i] for i in answers], list(answers.values()), max_new_tokens)


def greedy(runner: Runner, rows: Sequence[Ids], max_new_tokens: int, cache: Any = None) -> list[Ids]:
    """The new token ids of each source of a batch, up to and without the first end token.

    cache: of the architecture's, which serves several batches; None: one of its own.
    """
    return _answers(steps(runner, rows, max_new_tokens, cache), runner.model.manifest.model.end_token_ids)


def _answers(steps: Iterable[Ids], ends: Sequence[int]) -> list[Ids]:
    """Tokens by step, each (B,) -> the tokens of each answer, up to and without the first end token."""
    answers = []
    for row in np.stack(list(steps), axis=1):
        found = np.flatnonzero(np.isin(row, ends))
        answers.append(row[: found[0]] if len(found) else row)
    return answers


def steps(
    runner: Runner,
    rows: Sequence[Ids],
    max_new_tokens: int,
    cache: Any = None,
    chooser: Chooser | None = None,
    watch: StopWatch | None = None,
    finite: bool = True,
) -> Iterator[Ids]:
    """The next token of each sequence, (B,), until all have ended; without a chooser the most probable one.

    What follows a sequence's end token, or a stop string that is watched for, means nothing. An answer ends too where
    the model's positions do. finite: raise BundleError for logits that are no numbers.
    """
    model = runner.model
    config = model.manifest.model
    if cache is None:
        cache = model.architecture.cache(model.manifest)
    decoding = model.architecture.decoding(runner, rows, cache)
    room = model.architecture.room(model.manifest, rows)
    running = np.ones(len(rows), bool)
    chosen: Ids = np.empty(0, np.int64)
    for position in range(max_new_tokens):
        logits = decoding.step(chosen, running) if position else decoding.start()
        chosen = _most_probable(logits, running, finite) if chooser is None else chooser(logits, chosen, running)
        if position == 0 and config.forced_bos_token_id is not None:
            chosen[:] = config.forced_bos_token_id
        if position == max_new_tokens - 1 and config.forced_eos_token_id is not None:
            chosen[:] = config.forced_eos_token_id
        # a finished sequence goes on with its end until the whole batch is done
        chosen[~running] = config.end_token_ids[0]
        running &= ~np.isin(chosen, config.end_token_ids)
        if watch is not None:
            running &= ~watch(chosen, running)
        running &= room > position + 1
        yield chosen
        if not running.any():
            break


def warn_of_cut(model: Model, rows: Sequence[Ids], answers: Sequence[Ids], max_new_tokens: int) -> None:
    """Warns, once, of answers that would have gone on where the model's positions end."""
    room = model.architecture.room(model.manifest, rows)
    if cut := sum(len(answer) == most < max_new_tokens for answer, most in zip(answers, room, strict=True)):
        warn(
            f"{cut} of {len(rows)} answers are cut where the model's positions end; shorter inputs leave more room, "
            f"and a max_new_tokens of {int(room.min())} cuts none of them there"
        )


def _most_probable(logits: Float32, running: Bools, finite: bool) -> Ids:
    """logits (B, V) -> tokens (B,). Raises BundleError for logits that are no numbers, where finite is asked for."""
    chosen: Ids = logits.argmax(axis=1)  # of a NaN, where there is one
    if finite and not np.isfinite(logits[np.arange(len(chosen)), chosen][running]).all():
        raise BundleError(
            "the model's logits are no finite numbers, so that no token can be chosen; try without the adapter, or "
            "export the bundle again"
        )
    return chosen


def chooser_of(model: Model, rows: Sequence[Ids], numbers: Sequence[int], sampling: Sampling | None) -> Chooser | None:
    """What chooses the tokens of the texts of these numbers; None: the most probable ones are taken as they are."""
    if sampling is None:
        return None
    if not isinstance(sampling, Sampling):
        raise SettingsError(f"sampling must be a Sampling or None, got {sampling!r:.60}")
    before = model.architecture.before_answer(model.manifest, rows)
    return Chooser(sampling, numbers, before, model.manifest.model.vocab_size)
