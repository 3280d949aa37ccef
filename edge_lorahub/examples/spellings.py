"""The spellings of an example: under which keys of a record its input and output stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ExamplesError


@dataclass(frozen=True)
class Read:
    """What was read of a record: the texts, the keys that they were under, and the keys left over that hold text.

    system: what the system says in a conversation, "" for nothing.
    """

    input: str
    output: str
    used: tuple[str, ...]
    left: tuple[str, ...]
    system: str = ""


@dataclass(frozen=True)
class Form:
    """Keys whose texts make the input, in this order and each on a line of its own, and the output's key.

    A record has at least one of the input's keys; one that is empty adds nothing.
    """

    inputs: tuple[str, ...]
    output: str


# In the order in which they are tried: our own and Alpaca's, BIG-Bench Hard's, question answering, the released LoraHub
# data's, fine-tuning services', Dolly's, Flan's. An instruction may stand before any of them, or alone.
FORMS = (
    Form(("instruction", "input"), "output"),
    Form(("instruction", "input"), "target"),
    Form(("instruction", "question"), "answer"),
    Form(("instruction", "context"), "completion"),
    Form(("instruction", "prompt"), "completion"),
    Form(("instruction", "context"), "response"),
    Form(("instruction", "prompt"), "response"),
    Form(("instruction", "inputs"), "targets"),
)
_INPUTS = tuple(dict.fromkeys(key for form in FORMS for key in form.inputs))
_OUTPUTS = tuple(dict.fromkeys(form.output for form in FORMS))

# Conversations: the list's key, and of a message the keys of who speaks and of the text.
_CONVERSATIONS = {"messages": ("role", "content"), "conversations": ("from", "value")}
_SYSTEM, _USER, _ASSISTANT = ("system", "developer"), ("user", "human"), ("assistant", "gpt", "model")

# A number that somebody wrote as a text, such as a score or a row's number.
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
# How many names a message lists.
_MOST_NAMED = 10


def is_form(names: Sequence[str]) -> bool:
    """Whether a table with these columns has at least an input."""
    return any(name in _INPUTS for name in names)


def read_pair(record: Any, where: str) -> Read:
    """The input and output of a record. Raises ExamplesError, which begins with `where`."""
    mapping = _mapping(record, where)
    form = _form(mapping)
    if form is None:
        if key := _conversation_key(mapping):
            return _conversation(mapping, key, where, answered=True)
        forms = ", ".join(f"{form.inputs[-1]!r} and {form.output!r}" for form in FORMS)
        raise ExamplesError(
            f"{where}: no input with an output, got {in_short(list(map(repr, mapping)))}; expected {forms}, "
            "with an 'instruction' or without, or 'messages' of one user and one assistant"
        )
    text, used = _joined(mapping, form.inputs, where)
    output = mapping[form.output]
    if not isinstance(output, str) or not output.strip():
        raise ExamplesError(f"{where}: {form.output!r} must be a text that is not empty, got {output!r:.80}")
    used = (*used, form.output)
    return Read(text, output, used, _left(mapping, used))


def read_input(record: Any, where: str) -> Read:
    """As `read_pair`, of a record that need not have an output; its output is empty, and its input may be."""
    mapping = _mapping(record, where)
    form = _form(mapping) or _input_form(mapping)
    if not any(key in mapping for key in form.inputs):
        if key := _conversation_key(mapping):
            return _conversation(mapping, key, where, answered=False)
        raise ExamplesError(
            f"{where}: no text under {', '.join(map(repr, _INPUTS))} or 'messages', "
            f"got {in_short(list(map(repr, mapping)))}"
        )
    text, used = _joined(mapping, form.inputs, where, empty=True)
    return Read(text, "", used, _left(mapping, (*used, *_OUTPUTS)))


def _mapping(record: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(record, dict):
        raise ExamplesError(f"{where}: expected an object, got a {type(record).__name__}")
    return record


def _form(record: Mapping[str, Any]) -> Form | None:
    """The form of a record, None without an input or without an output.

    With an instruction people mix the forms: then it is the first input that holds text, with the first output. An
    instruction is all of the input only where there is no other.
    """
    of_output = [form for form in FORMS if form.output in record and any(key in record for key in form.inputs)]
    for form in of_output:
        if _has_text(record, form.inputs[-1]):
            return form
    output = next((key for key in _OUTPUTS if key in record), None)
    main = next((form.inputs for form in FORMS if _has_text(record, form.inputs[-1])), None)
    if "instruction" in record and output is not None and main is not None:
        return Form(main, output)
    return of_output[0] if of_output else None


def _input_form(record: Mapping[str, Any]) -> Form:
    """The form of a record without an output; an instruction alone is that of the first form."""
    with_text = (form for form in FORMS if _has_text(record, form.inputs[-1]))
    there = (form for form in FORMS if form.inputs[-1] in record)
    return next(with_text, None) or next(there, FORMS[0])


def _has_text(record: Mapping[str, Any], key: str) -> bool:
    value = record.get(key)
    return value is not None and not (isinstance(value, str) and not value.strip())


def _conversation_key(record: Mapping[str, Any]) -> str | None:
    return next((key for key in _CONVERSATIONS if key in record), None)


def _joined(
    record: Mapping[str, Any], keys: Iterable[str], where: str, *, empty: bool = False
) -> tuple[str, tuple[str, ...]]:
    """The texts under those of the keys that are there, a line each, and which keys they are."""
    used = tuple(key for key in keys if key in record)
    values = [record[key] for key in used]
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    odd = [value for value in values if not isinstance(value, str) and value is not None]
    if odd or not (texts or (empty and None not in values)):
        raise ExamplesError(
            f"{where}: {' and '.join(map(repr, used))} must be a text that is not empty, "
            f"got {' and '.join(f'{value!r:.80}' for value in values)}"
        )
    return "\n".join(texts), used


def _conversation(record: Mapping[str, Any], key: str, where: str, *, answered: bool) -> Read:
    """A conversation of one turn."""
    speaker, content = _CONVERSATIONS[key]
    messages = record[key]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ExamplesError(f"{where}: {key!r} must be a list of objects with {speaker!r} and {content!r}")
    roles = [str(message.get(speaker)) for message in messages]
    rest = roles[1:] if roles and roles[0] in _SYSTEM else roles
    turn = len(rest) == 2 and rest[0] in _USER and rest[1] in _ASSISTANT
    if not turn and (answered or len(rest) != 1 or rest[0] not in _USER):
        raise ExamplesError(
            f"{where}: {key!r} must be one message of a user and one of an assistant, after one of a system or none, "
            f"got {in_short(roles)}; make an example of each turn"
        )
    texts = [message.get(content) for message in messages]
    for role, text in zip(roles, texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise ExamplesError(f"{where}: the {role}'s {content!r} must be a text that is not empty, got {text!r:.80}")
    output = texts.pop() if turn else ""
    inner = dict.fromkeys(f"{key}.{name}" for message in messages for name in _left(message, (speaker, content)))
    *before, user = texts
    return Read(user, output, (key,), (*_left(record, (key,)), *inner), system="".join(before))


def _left(record: Mapping[str, Any], used: Sequence[str]) -> tuple[str, ...]:
    return tuple(key for key, value in record.items() if key not in used and holds_text(value))


def holds_text(value: Any) -> bool:
    """Whether there is a text in a JSON value. Numbers as texts count within a list or an object, as of choices."""
    if isinstance(value, str):
        return bool(value.strip()) and _NUMBER.fullmatch(value.strip()) is None
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and item.strip():
            return True
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False


def in_short(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join([*names[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]) or "nothing"
