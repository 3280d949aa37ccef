"""Many modules from the Hugging Face Hub into the local store: several at once, and again without what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..errors import HubUnreachableError, SettingsError
from ..files.user_path import user_path
from .adding import Outcome, Wanted
from .module_hub import Hub, wanted_modules
from .preparing import default_name

# Downloads wait for the network, not for a processor; and few are lost where a command dies.
_BATCH = 16
_AT_ONCE = 8


def pull(hub: Hub, repositories: Sequence[str], tags: Iterable[str], revision: str | None) -> Iterator[Outcome]:
    """Stores modules by their Hub ids, and gives what became of each, those first that are there already.

    What was damaged since is fetched again. Raises what `Hub.added` raises, SettingsError for a name that something
    local has, and HubUnreachableError where the Hub cannot be reached any more.
    """
    for name in repositories:
        if user_path(name).exists():
            raise SettingsError(
                f"{name}: something is here under that name, and is not pulled from the Hub; `hub add` takes a folder, "
                "or pull from elsewhere"
            )
    wanted = wanted_modules([(name, default_name(name)) for name in repositories], None, revision)
    if revision is None:
        known = {entry.name: entry for entry in hub.list()}
        there = [one for one in wanted if one.name in known and known[one.name].source == one.source]
        # what is damaged is fetched again, which mends it
        damaged = hub.damaged([known[one.name] for one in there])
        there = [one for one in there if one.name not in damaged]
        hub.tag([one.name for one in there], tags)
        yield from (Outcome(one, known[one.name].sha256, False) for one in there)
        wanted = [one for one in wanted if one not in there]
    if wanted:
        yield from _fetched(hub, wanted, tags)


def _fetched(hub: Hub, wanted: Sequence[Wanted], tags: Iterable[str]) -> Iterator[Outcome]:
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined,unused-ignore]

    disable_progress_bars()  # one of each file, of several modules at once
    done = 0
    for outcome in hub.added(wanted, tags, batch_size=_BATCH, at_once=_AT_ONCE):
        if isinstance(outcome.error, HubUnreachableError):
            raise HubUnreachableError(
                f"{outcome.error}; {done} of {len(wanted)} modules were pulled before, and the same command goes on"
            ) from outcome.error
        done += outcome.error is None
        yield outcome
