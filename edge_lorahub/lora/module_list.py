"""A list of modules: a text file with a path or Hub id a line."""

from __future__ import annotations

from pathlib import Path

from ..errors import SettingsError
from ..files.kinds import HUB_ID
from ..files.lines import listed_lines
from ..files.user_path import user_path


def module_list(path: Path) -> list[str | Path]:
    """The modules in their order: paths of those that are here, and Hub ids.

    A path is looked for in the working folder and in the list's own. Raises SettingsError, with the line, for what is
    neither, for a path that both have, and for a module that is named twice.
    """
    found: dict[str | Path, int] = {}
    for number, said in listed_lines(path, "a module's path or Hub id"):
        source = _source(path, number, said)
        if source in found:
            raise SettingsError(f"{path}: line {number}: {said:.200} is in line {found[source]} already")
        found[source] = number
    return [*found]


def _source(path: Path, number: int, said: str) -> str | Path:
    try:
        places = {place.resolve() for place in (user_path(said), path.parent / user_path(said)) if place.exists()}
    except (OSError, ValueError):  # a name that no file can have
        places = set()
    if len(places) > 1:
        raise SettingsError(
            f"{path}: line {number}: {said:.200} is in the working folder and beside the list; write the whole path"
        )
    if places:
        return places.pop()
    if "/" in said and HUB_ID.fullmatch(said):
        return said
    raise SettingsError(f"{path}: line {number}: {said!r:.200} is neither here nor a Hub id (owner/name)")
