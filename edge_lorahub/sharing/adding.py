"""Many modules into the store: copied a batch at a time, and named by the index in one transaction for each batch."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path

from ..errors import EdgeLorahubError, ModuleFileError, NotWritableError, OutputFailedError, StoreError
from ..files.outputs import scratch_folder
from ..files.work_folder import sync, sync_all
from ..hub import rows
from ..hub.index import OBJECTS, checked, writing
from ..hub.objects import objects_folder, place, problem_of
from ..hub.settling import settle
from .preparing import Prepared, prepare

# Modules that a transaction names, and that are lost where a command dies before it; and those that are read at once.
BATCH = 64
AT_ONCE = 4


@dataclass(frozen=True)
class Wanted:
    """A module that is to be stored: where it is from, under which name, and of which revision on the Hub.

    examples: texts of examples of what it was trained on; None: nothing is said of them.
    """

    source: str | Path
    name: str
    revision: str | None = None
    examples: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one: new, known already with the same contents, or not stored because of an error.

    sha256: `Module.sha256`, "" where it could not be read. repaired: its files were lost or changed, and are what was
    added again.
    """

    wanted: Wanted
    sha256: str
    new: bool
    error: EdgeLorahubError | None = None
    repaired: bool = False


@dataclass(frozen=True)
class _Named:
    """What became of a name in the index, as an `Outcome` has it."""

    new: bool = False
    repaired: bool = False
    error: EdgeLorahubError | None = None


def add(
    store: Path, wanted: Sequence[Wanted], tags: Sequence[str], *, batch_size: int = BATCH, at_once: int = AT_ONCE
) -> Iterator[Outcome]:
    """Stores modules of distinct names; gives what became of each, in their order, when it is on the disk.

    Raises StoreError, NotWritableError or OutputFailedError where the store cannot be written; what was given before
    stays.
    """
    settle(store)
    done = 0
    left = iter(enumerate(wanted))
    try:
        with scratch_folder(store / OBJECTS) as work, ThreadPoolExecutor(at_once) as pool:
            while batch := list(islice(left, batch_size)):
                results = list(pool.map(lambda item: _prepared(item[1], work / str(item[0])), batch))
                good = [one for one in results if isinstance(one, Prepared)]
                # when all of them are written: the first that waits for the disk waits for most of the others too
                list(pool.map(lambda one: sync_all(one.folder), good))
                texts = {one.name: one.examples for _, one in batch if one.examples is not None}
                stored = _commit(store, work, good, tags, texts)
                for (_, one), result in zip(batch, results, strict=True):
                    if isinstance(result, Prepared):
                        named = stored[one.name]
                        yield Outcome(one, result.facts.sha256, named.new, named.error, named.repaired)
                    else:
                        yield Outcome(one, "", False, result)
                    done += 1
    except (NotWritableError, OutputFailedError) as error:
        if not done:
            raise
        raise type(error)(f"{error}; {done} modules were done before, and the same command goes on") from error


def _prepared(wanted: Wanted, work: Path) -> Prepared | EdgeLorahubError:
    """The module's copy, or what is wrong with the module."""
    try:
        return prepare(wanted.source, wanted.name, wanted.revision, work)
    except EdgeLorahubError as error:
        return error
    except OSError as error:
        if error.filename is None or work.parent in Path(error.filename).parents:
            raise  # of the store
        return ModuleFileError(f"{error.filename}: {error.strerror}")


def _commit(
    store: Path, work: Path, batch: Sequence[Prepared], tags: Sequence[str], texts: Mapping[str, str]
) -> dict[str, _Named]:
    """Names the copies in the index. Gives what became of each, by name."""
    mine = work.parent.name
    with checked(store), writing(store) as connection:
        rows.note(connection, [one.facts.key for one in batch], mine)
    with checked(store), writing(store) as connection:
        folder = objects_folder(store)
        found = {one.name: _name(connection, store, one, tags) for one in batch}
        for name, text in texts.items():
            if name in found and found[name].error is None:
                rows.put_examples(connection, name, text)
        sync(folder)
        for one in batch:
            rows.forget(connection, one.facts.key, mine)
    return found


def _name(connection: sqlite3.Connection, store: Path, one: Prepared, tags: Sequence[str]) -> _Named:
    facts, name = one.facts, one.name
    known = rows.key_of(connection, name)
    if known not in (None, facts.key):
        error = StoreError(
            f"{name}: in the store already, with other contents; add it under another name (`hub add --name`), or "
            "`hub remove` it before"
        )
        return _Named(error=error)
    files = rows.files(connection, facts.key)
    # what was changed or lost since is mended by adding it again
    damaged = not files or problem_of(store, facts.key, files) is not None
    if damaged:
        place(one.folder, store, facts.key, one.folder.with_suffix(".old"))
        rows.put_object(connection, facts)
    if known is None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        rows.put_name(connection, name, facts.key, one.source, now)
    rows.put_tags(connection, name, tags)
    return _Named(new=known is None, repaired=known is not None and damaged)
