"""Arguments and names as messages have them: what is no whole number, a value cut short, the first of many names."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from .errors import SettingsError

_LONG_NUMBER = 10**40
# Characters of a value.
_LONGEST = 60


def check_whole(name: str, value: object, *, least: int, most: int | None = None) -> None:
    """Raises SettingsError for an argument that is no whole number, as a text or True, or out of its range."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise SettingsError(f"{name} must be a whole number, got {value!r:.80}")
    number = int(value)
    if number < least or (most is not None and number > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        # Python refuses to write a number of thousands of digits
        got = f", got {number}" if abs(number) < _LONG_NUMBER else ""
        raise SettingsError(f"{name} must be {bounds}{got}")


def quoted(value: object) -> str:
    """A value for a message; a long text is cut within its quotes, so that its end can be seen."""
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…")
    return f"{value!r:.{_LONGEST}}"


def some_of(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, for a message, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
