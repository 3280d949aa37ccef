"""A request's JSON object, field by field: each within its bounds, and none that is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .refusal import Refusal


class Fields:
    """Takes fields from an object. One that is null is as one that is not there; `done` refuses what was not taken."""

    def __init__(self, record: Mapping[str, Any], where: str = "") -> None:
        """where: the object's own place in the request, for messages."""
        self._record, self._where = record, where
        self._taken: set[str] = set()

    def _get(self, name: str) -> Any:
        self._taken.add(name)
        return self._record.get(name)

    def _refusal(self, name: str, what: str) -> Refusal:
        place = f"{self._where}{name}"
        return Refusal(400, f"{place}: must be {what}, got {_short(self._record.get(name))}", param=place)

    def text(self, name: str, default: str | None = None, *, least: int = 0, most: int = 1_000_000) -> str | None:
        """A text of so many characters; None where there is none."""
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self._refusal(name, "a text")
        if not least <= len(value) <= most:
            raise self._refusal(name, f"a text of {least} to {most} characters")
        if any("\ud800" <= character <= "\udfff" for character in value):
            place = f"{self._where}{name}"
            raise Refusal(400, f"{place}: not valid Unicode (a lone surrogate)", param=place)
        return value

    def needed_text(self, name: str, *, least: int = 0, most: int = 1_000_000) -> str:
        value = self.text(name, least=least, most=most)
        if value is None:
            raise self.missing(name)
        return value

    def whole(self, name: str, default: int | None, least: int, most: int, other: str = "") -> int | None:
        """other: what else the field may be, for the message; whoever asks has looked at that."""
        value = self._get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._refusal(name, f"a whole number from {least} to {most}{other}")
        return value

    def number(self, name: str, least: float, most: float) -> float | None:
        value = self._get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise self._refusal(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._refusal(name, "true or false")
        return value

    def choice(self, name: str, default: str, among: Sequence[str]) -> str:
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in among:
            raise self._refusal(name, f"one of {', '.join(among)}")
        return value

    def texts(self, name: str, most: int, longest: int) -> list[str]:
        """One text or a list of them, none of them empty."""
        value = self._get(name)
        found = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(found, list) or len(found) > most:
            raise self._refusal(name, f"a text or a list of at most {most}")
        one = Fields({f"{name}[{place}]": text for place, text in enumerate(found)}, self._where)
        return [one.needed_text(key, least=1, most=longest) for key in one._record]

    def objects(self, name: str, least: int, most: int) -> list[Fields]:
        """A list of objects."""
        value = self._get(name)
        if value is None:
            raise self.missing(name)
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self._refusal(name, "a list of objects")
        if not least <= len(value) <= most:
            place = f"{self._where}{name}"
            raise Refusal(400, f"{place}: must have {least} to {most} entries, got {len(value)}", param=place)
        return [Fields(one, f"{self._where}{name}[{place}].") for place, one in enumerate(value)]

    def part(self, name: str) -> Fields:
        """An object; an empty one where there is none."""
        value = self._get(name)
        if value is not None and not isinstance(value, dict):
            raise self._refusal(name, "an object")
        return Fields(value or {}, f"{self._where}{name}.")

    def raw(self, name: str) -> Any:
        """What is looked at by who takes it."""
        return self._get(name)

    def missing(self, name: str) -> Refusal:
        place = f"{self._where}{name}"
        return Refusal(400, f"{place}: is missing", param=place)

    def only(self, name: str, *neutral: Any) -> None:
        """A field that is known elsewhere and not honored here: refused, but for values that ask for nothing."""
        value = self._get(name)
        # 1 and true, 0 and false are other things
        if value is not None and not any(value == one and type(value) is type(one) for one in neutral):
            place = f"{self._where}{name}"
            raise Refusal(
                400, f"{place}: {_short(value)} is not supported here; leave it out", param=place, code="unsupported"
            )

    def done(self) -> None:
        """Refuses a field that nobody has taken."""
        for name in self._record:
            if name not in self._taken:
                place = f"{self._where}{name:.80}"
                known = ", ".join(sorted(self._taken))
                raise Refusal(400, f"{place}: no such field here; there are {known}", param=place, code="unknown_field")


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) >= 10**20:  # its digits may be too many to be written
        return "a whole number that is far too large"
    if isinstance(value, float) and not math.isfinite(value):
        return "no finite number"
    found = ascii(value) if not isinstance(value, (dict, list)) else f"a {type(value).__name__} of {len(value)}"
    return found if len(found) <= 80 else f"{found[:79]}…"
