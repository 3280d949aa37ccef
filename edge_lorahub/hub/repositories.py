"""Which repositories on the Hub are meant: by a list, of the package or a file, or by a pattern."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import HubError, HubUnreachableError, SettingsError, warn
from ..files.kinds import HUB_ID
from ..files.lines import listed_lines
from ..files.user_path import user_path
from .asking import asking

_LISTS = Path(__file__).parent / "lists"


def known_lists() -> list[str]:
    """The names of the lists in the package."""
    return sorted(path.stem for path in _LISTS.glob("*.txt"))


def repositories(what: str) -> list[str]:
    """Hub ids in their list's order, or by name: of a list of the package, a list file, a pattern, or one id.

    Raises SettingsError for what is none of these, HubError for a pattern of which there is nothing, and
    HubUnreachableError where the Hub has to be asked and cannot be.
    """
    if what in known_lists():
        return _read(_LISTS / f"{what}.txt")
    if user_path(what).is_file():
        return _read(user_path(what))
    if re.search(r"[*?\[]", what):
        return _matching(what)
    if "/" in what and HUB_ID.fullmatch(what):
        return [what]
    raise SettingsError(
        f"{what or repr(what)}: neither a list ({', '.join(known_lists())}), nor a file with a Hub id a line, nor a "
        "pattern (owner/name-*), nor a Hub id (owner/name)"
    )


def _read(path: Path) -> list[str]:
    lines = listed_lines(path, "a Hub id")
    for number, name in lines:
        if "/" not in name or not HUB_ID.fullmatch(name):
            raise SettingsError(f"{path}: line {number}: {name!r:.80} is no Hub id (owner/name)")
    return [name for _, name in lines]


def _matching(pattern: str) -> list[str]:
    owner, _, rest = pattern.partition("/")
    if not rest or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", owner):
        raise SettingsError(f"{pattern}: a pattern needs its owner in full, as lorahub/flan_t5_large-*")
    try:
        names = _of_owner(owner)
    except Exception as error:  # of several HTTP libraries
        names = [name for known in known_lists() for name in _read(_LISTS / f"{known}.txt")]
        if not any(fnmatchcase(name, pattern) for name in names):
            raise HubUnreachableError(
                f"{pattern}: the Hub cannot be asked which names that is ({error}); name a file with one a line"
            ) from error
        warn(f"{pattern}: the Hub cannot be asked, so the names are those of the package's own lists")
    found = sorted(name for name in names if fnmatchcase(name, pattern))
    if not found:
        raise HubError(f"{pattern}: no repository of {owner} on the Hub has such a name")
    return found


def _of_owner(owner: str) -> list[str]:
    from huggingface_hub import HfApi

    with asking():
        return [str(model.id) for model in HfApi().list_models(author=owner)]
