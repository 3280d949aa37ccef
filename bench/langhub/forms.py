"""Forms: how an answer is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

PLAIN = "plain"


@dataclass(frozen=True)
class Form:
    """A form's ways to be stated, and what it makes of an input and its answer."""

    phrases: tuple[str, ...]
    write: Callable[[str, str], str]


FORMS: dict[str, Form] = {
    PLAIN: Form(("Write only the answer.", "Answer only."), lambda _, answer: answer),
    "json": Form(("Answer as JSON.", "Use a JSON object."), lambda _, answer: json.dumps({"answer": answer})),
    "sentence": Form(
        ("Answer in a full sentence.", "Use a whole sentence."), lambda _, answer: f"The answer is {answer}."
    ),
    "bracket": Form(("Put the answer in brackets.", "Use square brackets."), lambda _, answer: f"[{answer}]"),
    "twice": Form(("Say the answer twice.", "Write it two times."), lambda _, answer: f"{answer}, {answer}"),
    "arrow": Form(
        ("Repeat the input, then an arrow, then the answer.", "Use an arrow from the input to the answer."),
        lambda given, answer: f"{given} -> {answer}",
    ),
    "title": Form(
        ("Begin each word with a capital.", "Use title case."),
        lambda _, answer: " ".join(word[:1].upper() + word[1:] for word in answer.split(" ")),
    ),
    "bold": Form(("Make the answer bold.", "Use Markdown's bold type."), lambda _, answer: f"**{answer}**"),
}
