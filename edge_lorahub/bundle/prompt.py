"""The texts around an input and its answer: of a model's chat template, of a user's file, or none at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import SettingsError
from .field_checks import check_fields


@dataclass(frozen=True)
class TextRule:
    """What a chat template does to a text that it puts in, beyond putting it in.

    strip_left and strip_right are the characters that it takes away from the text's ends, as `str.lstrip` has them:
    "" for none, None for all white space. reserved has texts within such a text that make the template do something
    else, which nothing here follows; "" stands for a text that is empty.
    """

    strip_left: str | None = ""
    strip_right: str | None = ""
    reserved: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)

    def apply(self, text: str) -> str:
        return text.lstrip(self.strip_left).rstrip(self.strip_right)

    def reserved_in(self, text: str) -> str | None:
        """A reserved text that is in this one."""
        applied = self.apply(text)
        return next((one for one in self.reserved if (one in applied if one else not applied)), None)


@dataclass(frozen=True)
class Prompt:
    """The texts around an input and its answer; all empty: the texts alone.

    The model reads before + input + after + lead, and answers output + end. before and after stand around the input,
    lead at the front of the answer, and end behind it, where answers end. A system text goes between system_before
    and system_after, and the three take the place of before; both None: there is no place for one. The rules are
    what becomes of the three texts that are put in. adds_special_tokens: the tokenizer puts its start token before
    all this, as before any text; a chat template has it in its own text.
    """

    before: str = ""
    after: str = ""
    lead: str = ""
    end: str = ""
    system_before: str | None = None
    system_after: str | None = None
    input_rule: TextRule = field(default_factory=TextRule)
    output_rule: TextRule = field(default_factory=TextRule)
    system_rule: TextRule = field(default_factory=TextRule)
    adds_special_tokens: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.system_before is None) != (self.system_after is None):
            raise ValueError("system_before and system_after go together, and one of them is missing")
        for name, text in self._texts():
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ValueError(f"{name} is not valid Unicode (a lone surrogate)")

    def _texts(self) -> Iterator[tuple[str, str]]:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, str):
                yield one.name, value

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Prompt:
        """From what `dataclasses.asdict` made of one, as JSON gives it back. Raises TypeError or ValueError."""
        if not isinstance(record, dict):
            raise TypeError(f"a prompt is {record!r:.80}")
        rules = {one.name for one in fields(cls) if str(one.type) == TextRule.__name__}
        values: dict[str, Any] = {name: _rule(value) if name in rules else value for name, value in record.items()}
        return cls(**values)

    @property
    def takes_system(self) -> bool:
        """Whether there is a place for a system text."""
        return self.system_before is not None

    @property
    def applied(self) -> Prompt:
        """Without what is for a system text that may still come: equal for two that do the same to all texts."""
        return replace(self, system_before=None, system_after=None, system_rule=TextRule())

    @property
    def is_plain(self) -> bool:
        """Whether it is the texts alone."""
        return self.applied == Prompt()

    def with_system(self, text: str) -> Prompt:
        """With a system text, in the place of one that it has. Raises SettingsError."""
        if self.system_before is None or self.system_after is None:
            raise SettingsError("there is no place for a system text")
        if not isinstance(text, str) or not (applied := self.system_rule.apply(text)).strip():
            raise SettingsError(f"a system text must be a text that is not empty, got {text!r:.80}")
        if found := self.system_rule.reserved_in(text):
            raise SettingsError(f"a system text with {found!r:.80} in it, of which the template makes something else")
        try:
            return replace(self, before=self.system_before + applied + self.system_after)
        except ValueError as error:
            raise SettingsError(f"the system text cannot be used: with it, {error}") from error

    def source(self, text: str) -> tuple[str, str, str]:
        """What the model reads for an input: what is before it, itself, and what is after it."""
        return self.before, self.input_rule.apply(text), self.after + self.lead

    def label(self, output: str) -> str:
        """What the model answers for an output."""
        return self.output_rule.apply(output) + self.end


def _rule(value: Any) -> TextRule:
    reserved = value.get("reserved", ()) if isinstance(value, dict) else None
    if not isinstance(reserved, (list, tuple)):
        raise ValueError(f"a rule is {value!r:.80}")
    return TextRule(**{**value, "reserved": tuple(reserved)})
