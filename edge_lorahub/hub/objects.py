"""The stored modules' folders, by key. Nothing in the store leads out of it: links are refused, not followed."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from ..errors import StoreError
from ..files.outputs import sha256
from ..files.work_folder import sync
from .entry import StoredFile, check_key
from .index import OBJECTS


def object_path(store: Path, key: str) -> Path:
    return store / OBJECTS / check_key(key)


def problem_of(store: Path, key: str, files: Sequence[StoredFile]) -> str | None:
    """What is wrong with a module's files, by their digests; None: they are what was added."""
    folder = object_path(store, key)
    for path in (folder.parent, folder):
        if not _is_folder(path):
            return "its folder is not there" if not os.path.lexists(path) else f"{path} is a link, or no folder"
    if strange := sorted(set(os.listdir(folder)) - {file.name for file in files}):
        return f"it has {strange[0]!r:.80}, which was not added"
    for file in files:
        path = folder / file.name
        if path.is_symlink() or not path.is_file():
            return f"its {file.name} is gone, or no file"
        if path.stat().st_size != file.size or sha256(path) != file.sha256:
            return f"its {file.name} is not what was added"
    return None


def lying(store: Path) -> list[str]:
    """The names of all that lies among the modules' folders; a module's is its key."""
    return os.listdir(store / OBJECTS) if _is_folder(store / OBJECTS) else []


def place(prepared: Path, store: Path, key: str, aside: Path) -> None:
    """Gives a prepared folder its place. What lies there already goes to `aside`.

    The names in `objects_folder` have to be brought to the disk after that (`work_folder.sync`).
    """
    target = object_path(store, key)
    if os.path.lexists(target):
        os.rename(target, aside)
    os.rename(prepared, target)


def objects_folder(store: Path) -> Path:
    """The folder of all modules' folders, made where there is none. Raises StoreError for a link."""
    folder = store / OBJECTS
    if not os.path.lexists(folder):
        folder.mkdir(exist_ok=True)
        sync(store)
    if not _is_folder(folder):
        raise StoreError(f"{folder}: a link or no folder, where the store's modules were expected; remove it")
    return folder


def discard(store: Path, key: str) -> None:
    """Removes a module's folder, if it is there; of a link the link."""
    path = object_path(store, key)
    if path.is_symlink():
        path.unlink()
    elif _is_folder(path.parent) and _is_folder(path):
        shutil.rmtree(path)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
