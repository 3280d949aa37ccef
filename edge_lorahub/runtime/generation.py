"""Decoding with a key-value cache, in batches of similar length: greedy, or by sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..bundle.graphs import Variant
from ..bundle.prompt import Prompt
from ..composition.adapter import Adapter, check_adapter
from ..composition.prompt_record import warn_of_other_prompt
from ..composition.stack import plain_inputs
from ..errors import BundleError, SettingsError, warn
from .architecture import Bools, Float32
from .binding import Runner
from .prompt_choice import PromptFormat, choose_prompt
from .sampling import Chooser, Sampling
from .session import Model
from .stopping import Stops, StopWatch, pieces
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
    sampling: Sampling | None = None,
    stop: str | Iterable[str] = (),
    first: int = 1,
    prompt: PromptFormat = None,
    system: str | None = None,
    on_answers: Callable[[int], None] = lambda count: None,
) -> list[str]:
    """The model's answer to each text, with the adapter if there is one.

    sampling: how tokens are drawn; None: greedy decoding, always the most probable token. stop: strings before the
    first of which an answer ends, or one such string. first: the first text's number, in warnings and for its random
    numbers, so that the fifth of several texts gets the same answer alone with first=5. prompt and system: the texts
    around each input, as `adapt` has them; None: those that the adapter was learned with. on_answers is called after
    every batch with the number of texts that it answered. Warns (EdgeLorahubWarning) of texts that are cut, and of stop
    strings that the tokenizer cannot write. Raises SettingsError for a number out of its range, and for texts that
    are none, a single one among them.
    """
    chosen = choose_prompt(model.bundle, prompt, system, adapter)
    warn_of_other_prompt(adapter, chosen)
    return generate_with(
        runner_for(model, adapter),
        texts,
        max_new_tokens=max_new_tokens,
        max_input_tokens=max_input_tokens,
        batch_size=batch_size,
        sampling=sampling,
        stops=_stops(model, stop),
        first=first,
        prompt=chosen,
        on_answers=on_answers,
    )


def stream(
    model: Model,
    text: str,
    *,
    adapter: Adapter | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_input_tokens: int = MAX_INPUT_TOKENS,
    sampling: Sampling | None = None,
    stop: str | Iterable[str] = (),
    first: int = 1,
    prompt: PromptFormat = None,
    system: str | None = None,
) -> Iterator[str]:
    """The answer to one text in pieces, each as soon as nothing of it can change; together what `generate` gives.

    The arguments are those of `generate`, and so are the errors, which are raised before the first piece.

        for piece in stream(model, "Translate to German: Good morning"):
            print(piece, end="", flush=True)
    """
    if not isinstance(text, str):
        raise SettingsError(f"text must be a text, got a {type(text).__name__}")
    chosen = choose_prompt(model.bundle, prompt, system, adapter)
    warn_of_other_prompt(adapter, chosen)
    return stream_with(
        runner_for(model, adapter),
        text,
        max_new_tokens=max_new_tokens,
        max_input_tokens=max_input_tokens,
        sampling=sampling,
        stops=_stops(model, stop),
        first=first,
        prompt=chosen,
    )


def runner_for(model: Model, adapter: Adapter | None) -> Runner:
    """The model with the adapter, or without LoRA, for any number of calls of what follows; for one thread."""
    check_adapter(adapter)
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
    sampling: Sampling | None = None,
    stops: Stops | None = None,
    first: int = 1,
    prompt: Prompt | None = None,
    finite: bool = True,
    on_answers: Callable[[int], None] = lambda count: None,
) -> list[str]:
    """As `generate`, with whatever the runner's LoRA inputs hold. prompt: None is the bundle's own.

    finite: raise BundleError for logits that are no numbers; else such an answer means nothing.
    """
    _check_settings(
        max_new_tokens=(max_new_tokens, 1),
        batch_size=(batch_size, 1),
        max_input_tokens=(max_input_tokens, 2),
        first=(first, 1),
    )
    model = runner.model
    rows = model.bundle.sources(_checked(texts), max_input_tokens, first, prompt)
    answers: list[Ids] = [np.empty(0, np.int64)] * len(rows)
    cache = model.architecture.cache(model.manifest)
    for members in buckets([len(row) for row in rows], largest=batch_size):
        batch = [rows[i] for i in members]
        chooser = _chooser(model, batch, [first + i for i in members], sampling)
        watch = StopWatch(stops, model.tokens, len(batch)) if stops else None
        steps = _steps(runner, batch, max_new_tokens, cache, chooser, watch, finite)
        for index, answer in zip(members, _answers(steps, model.manifest.model.end_token_ids), strict=True):
            answers[index] = answer
        on_answers(len(members))
    _warn_of_cut(model, rows, answers, max_new_tokens)
    decoded = model.tokens.decode(answers)
    return [stops.cut(text) for text in decoded] if stops else decoded


def stream_with(
    runner: Runner,
    text: str,
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_input_tokens: int = MAX_INPUT_TOKENS,
    sampling: Sampling | None = None,
    stops: Stops | None = None,
    first: int = 1,
    prompt: Prompt | None = None,
) -> Iterator[str]:
    """As `stream`, with whatever the runner's LoRA inputs hold."""
    _check_settings(max_new_tokens=(max_new_tokens, 1), max_input_tokens=(max_input_tokens, 2), first=(first, 1))
    model = runner.model
    rows = model.bundle.sources([text], max_input_tokens, first, prompt)
    chooser = _chooser(model, rows, [first], sampling)

    def answers() -> Iterator[str]:
        row: list[int] = []
        for chosen in _steps(runner, rows, max_new_tokens, chooser=chooser):
            if chosen[0] not in model.manifest.model.end_token_ids:
                row.append(int(chosen[0]))
            yield model.tokens.decode([np.array(row, np.int64)])[0]
        _warn_of_cut(model, rows, [np.array(row, np.int64)], max_new_tokens)

    return filter(None, pieces(answers(), stops or Stops()))


def greedy(runner: Runner, rows: Sequence[Ids], max_new_tokens: int, cache: Any = None) -> list[Ids]:
    """The new token ids of each source of a batch, up to and without the first end token.

    cache: of the architecture's, which serves several batches; None: one of its own.
    """
    return _answers(_steps(runner, rows, max_new_tokens, cache), runner.model.manifest.model.end_token_ids)


def _answers(steps: Iterable[Ids], ends: Sequence[int]) -> list[Ids]:
    """Tokens by step, each (B,) -> the tokens of each answer, up to and without the first end token."""
    answers = []
    for row in np.stack(list(steps), axis=1):
        found = np.flatnonzero(np.isin(row, ends))
        answers.append(row[: found[0]] if len(found) else row)
    return answers


def _steps(
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


def _warn_of_cut(model: Model, rows: Sequence[Ids], answers: Sequence[Ids], max_new_tokens: int) -> None:
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


def _chooser(model: Model, rows: Sequence[Ids], numbers: Sequence[int], sampling: Sampling | None) -> Chooser | None:
    """What chooses the tokens of the texts of these numbers; None: the most probable ones are taken as they are."""
    if sampling is None:
        return None
    if not isinstance(sampling, Sampling):
        raise SettingsError(f"sampling must be a Sampling or None, got {sampling!r:.60}")
    before = model.architecture.before_answer(model.manifest, rows)
    return Chooser(sampling, numbers, before, model.manifest.model.vocab_size)


def _stops(model: Model, stop: str | Iterable[str]) -> Stops:
    stops = Stops(stop)
    stops.warn_of_unwritable(model.tokens)
    return stops


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
