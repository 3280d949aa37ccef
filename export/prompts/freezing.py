"""A chat template, a program, as the plain texts around an input and its answer.

The template is rendered with marks in the place of input, answer and system text. What is found around the marks must
then be all that it does: it is tried on texts of many kinds, among them those that the template's own program has.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from tokenizers import Tokenizer

from edge_lorahub.bundle.prompt import Prompt, TextRule
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning

from ..source.chat_templates import TOKENS, ChatTemplate
from ..source.tokenizer_settings import SETTINGS
from .probes import LONGEST, MOST_LITERALS, PROBES, WHITE, around
from .rendering import Conversation, Failure, Rendered, render
from .token_check import check_tokens

_INPUT, _ANSWER, _SYSTEM = "xqINPUTzq7", "xqANSWERzq7", "xqSYSTEMzq7"
# So many texts that a template treats otherwise are a template that depends on its texts.
_MOST_RESERVED = 20
_THINKING = "enable_thinking"


@dataclass(frozen=True)
class _Turn:
    """One input with its answer, after a system text or none."""

    text: str = _INPUT
    answer: str = _ANSWER
    system: str | None = None

    def conversation(self, *, prompt: bool = False, variables: Mapping[str, Any] | None = None) -> Conversation:
        messages = [] if self.system is None else [("system", self.system)]
        messages += [("user", self.text)] + ([] if prompt else [("assistant", self.answer)])
        return Conversation(messages, prompt, variables)

    def expected(self, frozen: Prompt, *, prompt: bool = False) -> str:
        """What the template is to make of it, by the plain texts."""
        if self.system is not None:
            before = f"{frozen.system_before}{frozen.system_rule.apply(self.system)}{frozen.system_after}"
        else:
            before = frozen.before
        text = before + frozen.input_rule.apply(self.text) + frozen.after
        return text if prompt else text + frozen.lead + frozen.label(self.answer)


def freeze(
    template: ChatTemplate,
    tokenizer: Tokenizer,
    end_token_ids: Sequence[int],
    *,
    arguments: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> Prompt:
    """The texts that a chat template puts around one input, its answer and a system text.

    arguments are further variables of the template, as enable_thinking. now is the date that it may write. tokenizer is
    the bundle's, and end_token_ids end an answer.
    Raises CheckpointError, by name, for a template that is none, that is beyond the limits of `rendering`, whose text
    around input and answer depends on them in a way that plain texts cannot follow, or whose answers do not end with an
    end token; MissingDependencyError without Jinja. Warns of what a template writes that may not be meant.
    """
    now = datetime.now() if now is None else now
    freezer = _Freezer(template, dict(arguments or {}), now)
    frozen = freezer.frozen()
    check_tokens(frozen, template.where, tokenizer, end_token_ids)
    freezer.warn(frozen)
    return frozen


class _Freezer:
    """One template, rendered twice: with marks, and to try what was found with them."""

    def __init__(self, template: ChatTemplate, arguments: dict[str, Any], now: datetime) -> None:
        self._template, self._arguments, self._now = template, arguments, now

    def frozen(self) -> Prompt:
        """Raises CheckpointError."""
        self._render_marks()
        frozen = self._frame()
        frozen = replace(
            frozen,
            input_rule=self._rule("text", "input", frozen),
            output_rule=self._rule("answer", "answer", frozen),
        )
        frozen = self._with_system(frozen)
        return self._tried(frozen)

    def warn(self, frozen: Prompt) -> None:
        """Of the date, and of a switch that makes another text."""
        where = self._template.where
        if self._marked.dated:
            warnings.warn(
                f"{where} writes the date: prompts of this bundle will always have that of today, "
                f"{self._now.date().isoformat()}",
                EdgeLorahubWarning,
                stacklevel=3,
            )
        if _THINKING in self._marked.names and _THINKING not in self._arguments:
            without, asked = self._texts[_Turn(), _THINKING], _Turn().expected(frozen, prompt=True)
            if isinstance(without, str) and without not in (asked, asked + frozen.lead):
                warnings.warn(
                    f"{where} writes another prompt for answers that come at once, without thinking: export with its "
                    f"argument {_THINKING}=false where the examples' answers do",
                    EdgeLorahubWarning,
                    stacklevel=3,
                )
        rules = frozen.input_rule, frozen.output_rule
        reserved = dict.fromkeys(repr(one) for rule in rules for one in rule.reserved)
        if reserved:
            warnings.warn(
                f"{where} makes something else of an input or answer with {', '.join(reserved):.200} in it, which this "
                "bundle's prompts do not; adapt, generate and evaluate warn of such texts",
                EdgeLorahubWarning,
                stacklevel=3,
            )

    def _render_marks(self) -> None:
        """The marks alone, with a system text, with white space at either end of each, and without thinking."""
        plain, system = _Turn(), _Turn(system=_SYSTEM)
        wanted: dict[Any, Conversation] = {
            (plain, False): plain.conversation(),
            (plain, True): plain.conversation(prompt=True),
            (system, False): system.conversation(),
            (system, True): system.conversation(prompt=True),
            (plain, _THINKING): plain.conversation(prompt=True, variables={_THINKING: False}),
        }
        for turn in (
            replace(base, **{part: text})
            for base, part, mark in ((plain, "text", _INPUT), (plain, "answer", _ANSWER), (system, "system", _SYSTEM))
            for space in WHITE
            for text in (space + mark, mark + space)
        ):
            wanted[turn, False] = turn.conversation()
        self._marked = self._render(list(wanted.values()))
        self._texts = dict(zip(wanted, self._marked.found, strict=True))

    def _render(self, conversations: Sequence[Conversation], *, digests: bool = False) -> Rendered:
        return render(self._template, conversations, self._arguments, self._now, digests=digests)

    def _frame(self) -> Prompt:
        """The texts around input and answer."""
        prompt, whole = self._texts[_Turn(), True], self._texts[_Turn(), False]
        unknown = [name for name in TOKENS if name in self._marked.names and name not in self._template.tokens]
        if unknown := [name for name in unknown if name not in self._arguments]:
            raise self._refused(f"writes {' and '.join(unknown)}, which {SETTINGS} does not name")
        for text in (prompt, whole):
            if isinstance(text, Failure):
                raise self._refused(f"cannot be rendered for one input and its answer ({text.reason})")
        before, after = self._split(prompt, _INPUT, "input")
        if not whole.startswith(prompt):
            hint = f"; try its argument {_THINKING}=false" if _THINKING in self._marked.names else ""
            raise self._refused(
                f"writes another text before an answer ({_shown(whole, prompt)}) than it asks for one with "
                f"({_shown(prompt, whole)}){hint}"
            )
        lead, end = self._split(whole[len(prompt) :], _ANSWER, "answer")
        return self._prompt(before=before, after=after, lead=lead, end=end, adds_special_tokens=False)

    def _prompt(self, **texts: Any) -> Prompt:
        try:
            return Prompt(**texts)
        except ValueError as error:
            raise self._refused(f"writes what no prompt can be ({error})") from error

    def _with_system(self, frozen: Prompt) -> Prompt:
        """With the texts around a system text; without, where the template has no place for one of its own."""
        turn = _Turn(system=_SYSTEM)
        prompt, whole = self._texts[turn, True], self._texts[turn, False]
        if isinstance(prompt, Failure) or isinstance(whole, Failure) or prompt.count(_SYSTEM) != 1:
            return frozen
        system_before, rest = prompt.split(_SYSTEM)
        system_after, mark, after = rest.partition(_INPUT)
        if not mark or after != frozen.after:
            return frozen
        found = replace(frozen, system_before=system_before, system_after=system_after)
        if whole != turn.expected(found):
            return frozen
        try:
            return replace(found, system_rule=self._rule("system", "system text", found))
        except CheckpointError:
            return frozen

    def _rule(self, part: str, what: str, frozen: Prompt) -> TextRule:
        """What the template takes away from the ends of a text."""
        base = _Turn(system=_SYSTEM) if part == "system" else _Turn()
        mark = getattr(base, part)

        def stripped(space: str, text: str) -> bool:
            turn = replace(base, **{part: text})
            found = self._texts[turn, False]
            if found == base.expected(frozen):
                return True
            if found != turn.expected(frozen):
                raise self._refused(f"changes an {what} with {space!r} at an end")
            return False

        sides = [
            [space for space in WHITE if stripped(space, space + mark)],
            [space for space in WHITE if stripped(space, mark + space)],
        ]
        left, right = (None if len(side) == len(WHITE) else "".join(side) for side in sides)
        return TextRule(left, right)

    def _tried(self, frozen: Prompt) -> Prompt:
        """The same with the texts that it treats otherwise. Raises CheckpointError where it is more than these."""
        literals = [one for one in self._marked.literals if one.strip() and len(one) <= 200]
        if len(literals) > MOST_LITERALS:
            raise self._refused(f"has more than {MOST_LITERALS} texts in its program")
        # longer than any number that it may compare a text's length with
        probes = [*PROBES, *("a" * (one + 1) for one in self._marked.numbers if 1 < one < LONGEST)]
        ordinary = [_Turn(text=one, answer=other) for one, other in zip(probes, reversed(probes), strict=True)]
        turns: dict[tuple[str, str], list[_Turn]] = {("", ""): ordinary, ("text", ""): [_Turn(text="")]}
        for part in ("text", "answer"):
            for literal in literals:
                turns[part, literal] = [replace(_Turn(), **{part: text}) for text in around(literal)]
        if frozen.takes_system:
            system = [_Turn(text=one, system=other) for one, other in zip(probes, reversed(probes), strict=True)]
            system += [_Turn(text=f"{space}{_INPUT}{space}", system=_SYSTEM) for space in WHITE]
            turns["system", ""] = system
            for literal in literals:
                turns["system", literal] = [replace(_Turn(system=_SYSTEM), system=text) for text in around(literal)]
        wrong = self._wrong(turns, frozen)
        if ("", "") in wrong:
            turn = wrong["", ""]
            raise self._refused(
                f"does not put in every input and answer as it is (as {turn.text!r:.60} and {turn.answer!r:.60})"
            )
        if ("system", "") in wrong:
            frozen = replace(frozen, system_before=None, system_after=None, system_rule=TextRule())
        rules = {}
        for part, name in (("text", "input_rule"), ("answer", "output_rule"), ("system", "system_rule")):
            found = [literal for one, literal in wrong if one == part]
            # with "</think>" every text that has more of it
            reserved = tuple(one for one in found if not any(other and other in one for other in found if other != one))
            if len(reserved) > _MOST_RESERVED:
                raise self._refused(f"depends on what is in an input or answer (as {reserved[-1]!r:.60})")
            if part != "system" or frozen.takes_system:
                rules[name] = replace(getattr(frozen, name), reserved=reserved)
        return replace(frozen, **rules)

    def _wrong(self, turns: Mapping[tuple[str, str], Sequence[_Turn]], frozen: Prompt) -> dict[tuple[str, str], _Turn]:
        """Of turns by what they try, those of which the template makes something else; the first of each."""
        all_turns = [(key, turn) for key, group in turns.items() for turn in group]
        rendered = self._render([turn.conversation() for _, turn in all_turns], digests=True).found
        prompts = self._render([turn.conversation(prompt=True) for _, turn in all_turns], digests=True).found
        wrong: dict[tuple[str, str], _Turn] = {}
        for (key, turn), whole, prompt in zip(all_turns, rendered, prompts, strict=True):
            right = _digest(turn.expected(frozen)), _digest(turn.expected(frozen, prompt=True))
            if (whole, prompt) != right:
                wrong.setdefault(key, turn)
        return wrong

    def _split(self, text: str, mark: str, what: str) -> tuple[str, str]:
        if text.count(mark) != 1:
            how = "more than once" if mark in text else "changed, or not at all"
            raise self._refused(f"puts in an {what} {how}")
        front, _, rest = text.partition(mark)
        return front, rest

    def _refused(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"{self._template.where} {why}, so it cannot be made plain texts; take another template, or none"
        )


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _shown(text: str, other: str) -> str:
    """What a text has from where another one differs."""
    place = next((i for i, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), len(other))
    return repr(text[max(0, place - 10) : place + 40])
