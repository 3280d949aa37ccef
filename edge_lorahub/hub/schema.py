"""The tables of the store's index, and how an older index is brought forward.

A change is a new item at the end of MIGRATIONS, and never an edit of an older one. The number of items that an index
has seen is its `user_version`.
"""

from __future__ import annotations

# Tells our files from other programs' (`PRAGMA application_id`): "eLHb".
APPLICATION = 0x654C4862

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # the layers' shapes, JSON: {layer: [r, d_in, d_out]}; once for all modules that have the same
        "CREATE TABLE layouts (digest TEXT PRIMARY KEY, shapes TEXT NOT NULL) WITHOUT ROWID",
        # what lies under objects/
        """CREATE TABLE objects (
            key TEXT PRIMARY KEY, sha256 TEXT NOT NULL, kind TEXT NOT NULL, base_model TEXT NOT NULL, task_type TEXT,
            layer_kinds TEXT NOT NULL, layers INTEGER NOT NULL, ranks TEXT NOT NULL, parameters INTEGER NOT NULL,
            size INTEGER NOT NULL, layout TEXT NOT NULL REFERENCES layouts
        ) WITHOUT ROWID""",
        "CREATE INDEX objects_sha256 ON objects (sha256)",
        "CREATE INDEX objects_layout ON objects (layout)",
        """CREATE TABLE files (
            key TEXT NOT NULL REFERENCES objects ON DELETE CASCADE, name TEXT NOT NULL, sha256 TEXT NOT NULL,
            size INTEGER NOT NULL, PRIMARY KEY (key, name)
        ) WITHOUT ROWID""",
        # what users call them
        """CREATE TABLE names (
            name TEXT PRIMARY KEY, key TEXT NOT NULL REFERENCES objects, source TEXT NOT NULL, added TEXT NOT NULL
        ) WITHOUT ROWID""",
        "CREATE INDEX names_key ON names (key)",
        """CREATE TABLE tags (
            name TEXT NOT NULL REFERENCES names ON DELETE CASCADE, tag TEXT NOT NULL, PRIMARY KEY (name, tag)
        ) WITHOUT ROWID""",
        # what may lie under objects/ without an object's row, and the work folder of the command that put it there
        "CREATE TABLE unsettled (key TEXT NOT NULL, work TEXT NOT NULL, PRIMARY KEY (key, work)) WITHOUT ROWID",
    ),
    (
        # what a module's card says, to find modules by; without a row for those that were added before
        "CREATE TABLE descriptions (key TEXT PRIMARY KEY REFERENCES objects ON DELETE CASCADE, text TEXT NOT NULL)",
        # texts of examples that were given with a module
        "CREATE TABLE example_texts (name TEXT PRIMARY KEY REFERENCES names ON DELETE CASCADE, text TEXT NOT NULL)",
    ),
)
VERSION = len(MIGRATIONS)
TABLES = frozenset(("layouts", "objects", "files", "names", "tags", "unsettled", "descriptions", "example_texts"))
