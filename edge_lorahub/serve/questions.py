"""Requests for answers, as questions: which fields they have, within which bounds, and which they may not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..runtime.sampling import Sampling
from .answerer import Question
from .fields import Fields
from .limits import Limits
from .refusal import Refusal

_STOPS, _STOP_CHARACTERS = 8, 200
_GENERATE_TOKENS = 64
# OpenAI's own default for /v1/completions
_COMPLETION_TOKENS = 16
_MOST_SEED = 2**32 - 1
# What numbers may be, as `Sampling` has it; a temperature above 2 is refused by OpenAI too.
_NUMBERS = {"temperature": (0.0, 2.0), "top_p": (1e-9, 1.0), "min_p": (0.0, 1.0), "repetition_penalty": (0.001, 1000.0)}
# Fields of OpenAI's that are not honored, and the values of them that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,), "presence_penalty": (0, 0.0), "frequency_penalty": (0, 0.0), "logit_bias": ({},),
}  # fmt: skip
_COMPLETION_NEUTRAL: dict[str, tuple[Any, ...]] = {
    **_NEUTRAL, "best_of": (1,), "echo": (False,), "logprobs": (), "suffix": ("",),
}  # fmt: skip
_CHAT_NEUTRAL: dict[str, tuple[Any, ...]] = {
    **_NEUTRAL, "logprobs": (False,), "top_logprobs": (0,), "tools": ([],), "tool_choice": ("none",),
    "functions": ([],), "function_call": ("none",), "response_format": ({"type": "text"},), "modalities": (["text"],),
    "store": (False,), "audio": (), "prediction": (), "reasoning_effort": (), "verbosity": (),
    "web_search_options": (),
}  # fmt: skip
# Fields that change no answer anywhere.
_WITHOUT_EFFECT = ("user", "metadata", "parallel_tool_calls", "service_tier", "safety_identifier", "prompt_cache_key")


@dataclass(frozen=True)
class Asked:
    """A question, and how its answer is to be given; usage: streamed, with the counts of tokens at the end."""

    question: Question
    stream: bool
    usage: bool = False
    warnings: tuple[str, ...] = ()


def generation(fields: Fields, name: str, limits: Limits) -> Asked:
    """A request for /v1/generate; name: that of the bundle."""
    text = fields.needed_text("input")
    question = Question(
        model=fields.text("model", name, least=1, most=200) or name,
        text=text,
        new_tokens=_tokens(fields, "max_tokens", min(_GENERATE_TOKENS, limits.new_tokens), limits),
        sampling=_sampling(fields, ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")),
        stop=tuple(fields.texts("stop", _STOPS, _STOP_CHARACTERS)),
        system=fields.text("system", least=1),
    )
    asked = Asked(question, fields.flag("stream"))
    fields.done()
    return asked


def completion(fields: Fields, limits: Limits) -> Asked:
    """A request for /v1/completions: the text alone, without the texts of a prompt around it."""
    prompts = fields.raw("prompt")
    if isinstance(prompts, list) and len(prompts) == 1:
        prompts = prompts[0]
    if not isinstance(prompts, str):
        what = "is missing" if prompts is None else "must be one text; send several prompts one by one"
        raise Refusal(400, f"prompt: {what}", param="prompt")
    text = Fields({"prompt": prompts}).needed_text("prompt")
    new_tokens = _tokens(fields, "max_tokens", min(_COMPLETION_TOKENS, limits.new_tokens), limits)
    return _openai(fields, text, new_tokens, _COMPLETION_NEUTRAL, raw=True)


def chat(fields: Fields, limits: Limits) -> Asked:
    """A request for /v1/chat/completions: one text of a user, and one of the system before it at most."""
    system, text = _turns(fields.objects("messages", 1, 64))
    default = limits.new_tokens
    newer = fields.whole("max_completion_tokens", None, 1, limits.new_tokens)
    older = fields.whole("max_tokens", None, 1, limits.new_tokens)
    if newer is not None and older is not None:
        raise Refusal(400, "max_tokens and max_completion_tokens are the same; leave one of them out")
    return _openai(fields, text, newer or older or default, _CHAT_NEUTRAL, system=system)


def _openai(
    fields: Fields, text: str, new_tokens: int, neutral: dict[str, tuple[Any, ...]], *, system: str | None = None,
    raw: bool = False,
) -> Asked:  # fmt: skip
    question = Question(
        model=fields.needed_text("model", least=1, most=200),
        text=text,
        new_tokens=new_tokens,
        sampling=_sampling(fields, ("temperature", "top_p", "seed")),
        stop=tuple(fields.texts("stop", _STOPS, _STOP_CHARACTERS)),
        system=system,
        raw=raw,
    )
    stream = fields.flag("stream")
    options = fields.part("stream_options")
    usage = options.flag("include_usage")
    options.only("include_obfuscation", False)
    options.done()
    for name, values in neutral.items():
        fields.only(name, *values)
    idle = [name for name in _WITHOUT_EFFECT if fields.raw(name) is not None]
    fields.done()
    return Asked(question, stream, usage, tuple(f"{name}: has no effect here" for name in idle))


def _turns(messages: Sequence[Fields]) -> tuple[str | None, str]:
    """The text of the system, None where there is none, and that of the user."""
    found = []
    for place, message in enumerate(messages):
        role = message.choice("role", "", ("system", "developer", "user", "assistant", "tool", "function"))
        content = message.raw("content")
        if isinstance(content, list):  # in parts, of which texts alone can be read
            parts = message.objects("content", 1, 64)
            for part in parts:
                part.choice("type", "", ("text",))
            content = "".join(part.needed_text("text") for part in parts)
            for part in parts:
                part.done()
        else:
            content = message.needed_text("content")
        message.only("name")
        message.done()
        found.append(("system" if role == "developer" else role, content, place))
    roles = [role for role, _, _ in found]
    if roles not in (["user"], ["system", "user"]):
        raise Refusal(
            400,
            "messages: must be one of the user, and one of the system before it at most; conversations of several "
            "turns are not supported",
            param="messages",
            code="unsupported",
        )
    return (found[0][1] if len(found) == 2 else None), found[-1][1]


def _tokens(fields: Fields, name: str, default: int, limits: Limits) -> int:
    return fields.whole(name, None, 1, limits.new_tokens) or default


def _sampling(fields: Fields, names: Sequence[str]) -> Sampling | None:
    """How tokens are drawn; None, where none of the fields is there: always the most probable one.

    The rule of `edge-lorahub generate`: any of these fields makes it sampling, but for a repetition penalty alone.
    """
    given: dict[str, Any] = {}
    for name in names:
        if name in _NUMBERS:
            value: float | None = fields.number(name, *_NUMBERS[name])
        else:
            value = fields.whole(name, None, 0 if name == "seed" else 1, _MOST_SEED)
        if value is not None:
            given[name] = value
    if not given:
        return None
    if list(given) == ["repetition_penalty"]:
        given["temperature"] = 0.0
    return Sampling(**given)
