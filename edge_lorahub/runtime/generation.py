"""Answers to texts, as texts: greedy or by sampling, whole or in pieces as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ..bundle.graphs import Variant
from ..bundle.prompt import Prompt
from ..composition.adapter import Adapter, check_adapter
from ..composition.prompt_record import warn_of_other_prompt
from ..composition.stack import plain_inputs
from ..errors import SettingsError
from ..messages import check_whole
from .answers import answered
from .binding import Runner
from .growing_answer import GrowingAnswer
from .prompt_choice import PromptFormat, choose_prompt
from .sampling import Sampling
from .session import Model
from .stopping import Stops

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
    check_model(model)
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
    check_model(model)
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


def check_model(model: Model) -> None:
    """Raises SettingsError for what is no model, such as a bundle's folder."""
    if not isinstance(model, Model):
        raise SettingsError(f"model must be a Model, got {model!r:.80}; edge_lorahub.load opens a bundle")


def runner_for(model: Model, adapter: Adapter | None) -> Runner:
    """The model with the adapter, or without LoRA, for any number of calls of what follows; for one thread."""
    check_adapter(adapter)
    if adapter is None:
        # a little faster without LoRA, but not worth a second copy of the weights
        with_lora = model.has_loaded(model.manifest.graph("generate", Variant()))
        return Runner(model, "generate", plain_inputs((), "float32" if with_lora else "none"))
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
    check_limits(max_new_tokens=max_new_tokens, batch_size=batch_size, max_input_tokens=max_input_tokens, first=first)
    rows = runner.model.bundle.sources(_checked(texts), max_input_tokens, first, prompt)
    answers = [""] * len(rows)
    for members, found in answered(
        runner, rows, max_new_tokens=max_new_tokens, batch_size=batch_size, sampling=sampling, stops=stops, first=first,
        finite=finite,
    ):  # fmt: skip
        for place, answer in zip(members, found, strict=True):
            answers[place] = answer
        on_answers(len(members))
    return answers


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
    check_limits(max_new_tokens=max_new_tokens, max_input_tokens=max_input_tokens, first=first)
    growing = GrowingAnswer(
        runner, text, max_new_tokens=max_new_tokens, max_input_tokens=max_input_tokens, sampling=sampling, stops=stops,
        first=first, prompt=prompt,
    )  # fmt: skip
    return filter(None, growing)


def _stops(model: Model, stop: str | Iterable[str]) -> Stops:
    stops = Stops(stop)
    stops.warn_of_unwritable(model.tokens)
    return stops


def check_limits(*, max_new_tokens: int, max_input_tokens: int, batch_size: int = 1, first: int = 1) -> None:
    """Raises SettingsError for what are no whole numbers, or too small ones."""
    limits = {
        "max_new_tokens": (max_new_tokens, 1), "batch_size": (batch_size, 1),
        "max_input_tokens": (max_input_tokens, 2), "first": (first, 1),
    }  # fmt: skip
    for name, (value, least) in limits.items():
        check_whole(name, value, least=least)


def _checked(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise SettingsError(f"texts must be a list of texts, got one text; write [{texts!r:.60}]")
    found = list(texts)
    for number, text in enumerate(found, 1):
        if not isinstance(text, str):
            raise SettingsError(f"text {number} must be a text, got a {type(text).__name__}")
    return found
