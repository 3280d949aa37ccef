"""The index's file: opened, brought forward, and what can be wrong with it as one line.

The rollback journal is kept: a write-ahead log needs shared memory, which network folders do not have, and readers that
may write.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from ..errors import EdgeLorahubError, NotWritableError, OutputFailedError, StoreError
from .schema import APPLICATION, MIGRATIONS, TABLES, VERSION

INDEX = "index.sqlite3"
OBJECTS = "objects"
# How long a command waits for another one's transaction, which is a batch of modules.
_BUSY_SECONDS = 60.0
_REMEDY = (
    "put back a copy of the index, or move the store away and add the modules in its objects/ to a new one: their "
    "names and tags are lost with the index, the folders are named by digests, and `hub add --name` names them"
)
_NOT_THERE = "unable to open database file"
# What SQLite says of a network folder without locks, of which can be read what nobody writes at the time.
_NO_LOCKS = ("disk I/O error", "locking protocol")


@contextmanager
def reading(store: Path) -> Iterator[sqlite3.Connection | None]:
    """The index for as many queries as one looks at; None where there is no store yet.

    Raises StoreError for an index that is damaged, newer or gone.
    """
    if not _is_there(store):
        yield None
        return
    with _told(store), closing(_to_read(store)) as connection:
        connection.execute("BEGIN")
        yield connection
        connection.execute("ROLLBACK")


@contextmanager
def writing(store: Path) -> Iterator[sqlite3.Connection]:
    """The index in a transaction of its own, which is on the disk when the block has ended without an error.

    Makes the store where there is none. Raises StoreError as `reading` does and where another command takes too long,
    NotWritableError or OutputFailedError.
    """
    if not _is_there(store):
        _make(store)
    with _told(store), closing(_connect(store, "rwc")) as connection:
        if _version(connection, store) < VERSION:
            _bring_forward(connection, store)
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _is_there(store: Path) -> bool:
    """Whether there is an index. Refuses one that is no file, and files without an index, which was lost."""
    path = store / INDEX
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        found = None
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{path}: a link or no file, where the store's index was expected; {_REMEDY}")
    if found is None or not found.st_size:
        try:
            objects = os.listdir(store / OBJECTS)
        except (FileNotFoundError, NotADirectoryError):
            objects = []
        if objects:
            raise StoreError(f"{path}: the index is gone or empty, but there are modules; {_REMEDY}")
    return found is not None


def _make(store: Path) -> None:
    try:
        store.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise NotWritableError(f"{store}: no permission to make the store there; name another folder") from error


def _to_read(store: Path) -> sqlite3.Connection:
    """A connection to a whole index of this version. Where it cannot be written, SQLite only reads."""
    connection = _connect(store, "rw")
    try:
        if _version(connection, store) < VERSION:
            _bring_forward(connection, store)
    except sqlite3.OperationalError as error:
        connection.close()
        if not any(said in str(error) for said in _NO_LOCKS):
            raise
        connection = _connect(store, "ro&nolock=1")
        _version(connection, store)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(store: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(store / INDEX))}?mode={mode}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = EXTRA")
    return connection


def _version(connection: sqlite3.Connection, store: Path) -> int:
    """The index's version, 0 for a new file. Refuses what is not ours, is newer, or has other tables than it should."""
    path = store / INDEX
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    found = {(str(kind), str(name)) for kind, name in connection.execute("SELECT type, name FROM sqlite_master")}
    if not found and not version:
        return 0
    if application != APPLICATION:
        raise StoreError(f"{path}: another program's database, not the index of a store; name another folder")
    if version > VERSION:
        raise StoreError(f"{path}: version {version}, but this program reads {VERSION}; update edge-lorahub")
    strange = {kind for kind, _ in found} - {"table", "index"}
    if strange or version < 1 or (version == VERSION and {name for kind, name in found if kind == "table"} != TABLES):
        raise StoreError(f"{path}: damaged, with other tables than an index has; {_REMEDY}")
    return version


def _bring_forward(connection: sqlite3.Connection, store: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # another command may have been faster
        for number in range(_version(connection, store), VERSION):
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _told(store: Path) -> Iterator[None]:
    """What SQLite finds, and rows whose values are of other kinds, as our errors."""
    try:
        yield
    except sqlite3.Error as error:
        raise _line(str(error), store / INDEX) from error


def _line(message: str, path: Path) -> EdgeLorahubError:
    """By SQLite's own texts, as Python 3.10 has no codes."""
    if "locked" in message:
        return StoreError(f"{path}: another command has been writing for more than {_BUSY_SECONDS:.0f} s; try again")
    if "full" in message:
        return OutputFailedError(
            f"{path}: could not be written ({message}); the modules before it stay; free some space"
        )
    if "readonly" in message or message == _NOT_THERE:
        return NotWritableError(f"{path}: no permission to write it ({message}); the store can only be read")
    return StoreError(f"{path}: damaged, or cannot be read ({message}); {_REMEDY}")


@contextmanager
def checked(store: Path) -> Iterator[None]:
    """Refuses rows that no command of ours wrote, of which `rows` and `entry` raise ValueError."""
    try:
        yield
    except EdgeLorahubError:
        raise
    except ValueError as problem:
        raise StoreError(f"{store / INDEX}: damaged, or made to look like an index ({problem}); {_REMEDY}") from problem
