"""Files with one thing a line, and comments: lists of Hub ids, of modules."""

from __future__ import annotations

from pathlib import Path

from ..errors import SettingsError
from .reading import read_file

# Bytes of a list, which may have tens of thousands of names.
_LARGEST = 4 << 20


def listed_lines(path: Path, what: str) -> list[tuple[int, str]]:
    """What the lines say, with their numbers from 1, without comments: from a # at the start, or after a space.

    what: what stands in a line, for the messages. Raises SettingsError for a file that is too large, is not UTF-8, says
    the same twice, or nothing.
    """
    try:
        text = read_file(path, SettingsError, _LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8, where {what} a line was expected") from error
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        said = line.strip() if not line.lstrip().startswith("#") else ""
        for sign in (" #", "\t#"):
            said = said.partition(sign)[0].strip()
        if not said:
            continue
        if said in found:
            raise SettingsError(f"{path}: line {number}: {said:.200} is in line {found[said]} already")
        found[said] = number
    if not found:
        raise SettingsError(f"{path}: no line with {what} in it")
    return [(number, said) for said, number in found.items()]
