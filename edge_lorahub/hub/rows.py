"""The rows of the store's index: what they say of modules, and how they come and go.

Every function takes a connection of `index.reading` or `index.writing`, and raises ValueError for rows that no command
of ours wrote.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from .entry import Entry, Facts, Shapes, StoredFile, check_key
from .objects import object_path

# An entry's fields that are columns, and the table of each.
_COLUMNS = {
    "names": ("name", "key", "source", "added"),
    "objects": ("sha256", "kind", "base_model", "task_type", "layer_kinds", "layers", "ranks", "parameters", "size",
                "layout"),
}  # fmt: skip
_FIELDS = [field for fields in _COLUMNS.values() for field in fields]
_ENTRIES = (
    f"SELECT {', '.join(f'{table}.{field}' for table, fields in _COLUMNS.items() for field in fields)} "
    "FROM names JOIN objects ON objects.key = names.key"
)


def entries(connection: sqlite3.Connection, store: Path, names: Sequence[str] | None = None) -> list[Entry]:
    """The entries of these names that are there, or all, by name."""
    if names is None:
        rows = connection.execute(f"{_ENTRIES} ORDER BY names.name").fetchall()
    else:
        rows = [
            row for name in names for row in connection.execute(f"{_ENTRIES} WHERE names.name = ?", (name,)).fetchall()
        ]
    tags: dict[str, list[str]] = {}
    for name, tag in connection.execute("SELECT name, tag FROM tags ORDER BY name, tag"):
        tags.setdefault(name, []).append(tag)
    found = []
    for row in rows:
        values = dict(zip(_FIELDS, row, strict=True))
        folder = object_path(store, values["key"])
        found.append(Entry(**values, tags=tuple(tags.get(values["name"], ())), folder=folder))
    return found


def names_of(connection: sqlite3.Connection, sha256: str) -> list[str]:
    """All names of modules of one identity (`Module.sha256`)."""
    query = "SELECT name FROM names JOIN objects ON objects.key = names.key WHERE sha256 = ? ORDER BY name"
    return [str(name) for (name,) in connection.execute(query, (sha256,))]


def key_of(connection: sqlite3.Connection, name: str) -> str | None:
    """What a name stands for; None where it is not in use."""
    row = connection.execute("SELECT key FROM names WHERE name = ?", (name,)).fetchone()
    return None if row is None else check_key(row[0])


def keys(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The names by key, of all objects."""
    found: dict[str, list[str]] = {check_key(key): [] for (key,) in connection.execute("SELECT key FROM objects")}
    for name, key in connection.execute("SELECT name, key FROM names ORDER BY name"):
        found.setdefault(check_key(key), []).append(str(name))
    return found


def files(connection: sqlite3.Connection, key: str) -> tuple[StoredFile, ...]:
    """An object's files; none where there is no such object."""
    query = "SELECT name, sha256, size FROM files WHERE key = ? ORDER BY name"
    return tuple(StoredFile(*row) for row in connection.execute(query, (key,)))


def layouts(connection: sqlite3.Connection) -> dict[str, Shapes]:
    """The layers' shapes by layout."""
    found: dict[str, Shapes] = {}
    for digest, text in connection.execute("SELECT digest, shapes FROM layouts"):
        try:
            value = json.loads(text)
            found[str(digest)] = {str(layer): _shape(shape) for layer, shape in value.items()}
        except (AttributeError, TypeError, RecursionError) as error:
            raise ValueError(f"a layout is {text!r:.80}") from error
    return found


def _shape(value: object) -> tuple[int, int, int]:
    if not isinstance(value, list) or len(value) != 3 or any(type(number) is not int for number in value):
        raise ValueError(f"a shape is {value!r:.80}")
    rank, d_in, d_out = value
    return rank, d_in, d_out


def put_object(connection: sqlite3.Connection, facts: Facts) -> None:
    """Writes what is known of an object, in the place of what was known before."""
    shapes = json.dumps({layer: list(shape) for layer, shape in facts.shapes.items()}, sort_keys=True)
    layout = hashlib.sha256(shapes.encode()).hexdigest()
    connection.execute("INSERT OR IGNORE INTO layouts VALUES (?, ?)", (layout, shapes))
    values = (facts.sha256, facts.kind, facts.base_model, facts.task_type, facts.layer_kinds, len(facts.shapes),
              facts.ranks, facts.parameters, facts.size, layout)  # fmt: skip
    connection.execute(
        "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET sha256 = ?2, "
        "kind = ?3, base_model = ?4, task_type = ?5, layer_kinds = ?6, layers = ?7, ranks = ?8, parameters = ?9, "
        "size = ?10, layout = ?11",
        (facts.key, *values),
    )
    connection.execute("INSERT OR REPLACE INTO descriptions VALUES (?, ?)", (facts.key, facts.description))
    connection.execute("DELETE FROM files WHERE key = ?", (facts.key,))
    connection.executemany(
        "INSERT INTO files VALUES (?, ?, ?, ?)",
        [(facts.key, file.name, file.sha256, file.size) for file in facts.files],
    )


def texts(connection: sqlite3.Connection) -> dict[str, tuple[str | None, str]]:
    """By name what a module's card says, None where that was not kept, and the texts of examples given with it."""
    query = (
        "SELECT names.name, descriptions.text, example_texts.text FROM names "
        "LEFT JOIN descriptions ON descriptions.key = names.key "
        "LEFT JOIN example_texts ON example_texts.name = names.name"
    )
    found: dict[str, tuple[str | None, str]] = {}
    for name, said, examples in connection.execute(query):
        if any(not isinstance(text, (str, type(None))) for text in (said, examples)):
            raise ValueError(f"a description of {name!r:.80} is no text")
        found[str(name)] = (said, examples or "")
    return found


def put_examples(connection: sqlite3.Connection, name: str, text: str) -> None:
    """Keeps the texts of examples of what a module was trained on, in the place of those of before."""
    connection.execute("INSERT OR REPLACE INTO example_texts VALUES (?, ?)", (name, text))


def put_name(connection: sqlite3.Connection, name: str, key: str, source: str, added: str) -> None:
    connection.execute("INSERT INTO names VALUES (?, ?, ?, ?)", (name, key, source, added))


def put_tags(connection: sqlite3.Connection, name: str, tags: Iterable[str]) -> None:
    connection.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", [(name, tag) for tag in tags])


def remove_name(connection: sqlite3.Connection, name: str) -> None:
    """Removes a name, and notes the object as unsettled where it was the last one of it."""
    key = key_of(connection, name)
    connection.execute("DELETE FROM names WHERE name = ?", (name,))
    if key is not None and connection.execute("SELECT 1 FROM names WHERE key = ?", (key,)).fetchone() is None:
        connection.execute("DELETE FROM objects WHERE key = ?", (key,))
        connection.execute("DELETE FROM layouts WHERE digest NOT IN (SELECT layout FROM objects)")
        note(connection, [key], "")


def note(connection: sqlite3.Connection, keys: Iterable[str], work: str) -> None:
    """Notes that something without a row may lie under these keys; work: the command's work folder, "": nobody's."""
    connection.executemany("INSERT OR IGNORE INTO unsettled VALUES (?, ?)", [(key, work) for key in keys])


def forget(connection: sqlite3.Connection, key: str, work: str) -> None:
    connection.execute("DELETE FROM unsettled WHERE key = ? AND work = ?", (key, work))


def unsettled(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """The notes: (key, work)."""
    return [(check_key(key), str(work)) for key, work in connection.execute("SELECT key, work FROM unsettled")]


def has_object(connection: sqlite3.Connection, key: str) -> bool:
    return connection.execute("SELECT 1 FROM objects WHERE key = ?", (key,)).fetchone() is not None
