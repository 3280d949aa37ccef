"""A module's files copied into a work folder, and what is known of it."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..composition.record_file import OldRecordError, read_record
from ..errors import ModuleFileError
from ..files.reading import LARGEST_JSON, open_file
from ..files.user_path import user_path
from ..hub.entry import CARD, CONFIG, KEPT_FILES, LICENSE, RECORD, Facts, StoredFile
from ..hub.resolve import module_folder
from ..lora.peft_files import Module, load_module

# Bytes of a record, which has every candidate, and of a card or license.
_LARGEST = {RECORD: 256 << 20, CARD: 4 << 20, LICENSE: 4 << 20, CONFIG: LARGEST_JSON}


@dataclass(frozen=True)
class Prepared:
    """A module that is to be stored: under which name, where from, and its copy's folder."""

    name: str
    source: str
    folder: Path
    facts: Facts


def prepare(source: str | Path, name: str, revision: str | None, work: Path) -> Prepared:
    """Copies a module to the folder `work`, which is made.

    Raises ModuleFileError, MissingPathError, HubError or OSError.
    """
    folder = module_folder(source, revision, card=True)
    # what is read is what is copied, unless somebody writes there at the same time
    before = _marks(folder)
    module = load_module(folder, name=name)
    try:
        kind = "module" if read_record(module) is None else "adapter"
    except OldRecordError:
        kind = "module"
    names = [CONFIG, module.file.name, *(each for each in (CARD, LICENSE, RECORD) if (folder / each).is_file())]
    work.mkdir()
    files = tuple(_copy(folder / each, work / each) for each in sorted(names))
    if _marks(folder) != before:
        raise ModuleFileError(f"{folder}: changed while it was read; add it again when nothing writes there")
    local = user_path(source)
    said = os.fsencode(local.absolute()).decode(errors="replace") if local.is_dir() else str(source)
    return Prepared(name, said, work, _facts(module, kind, files))


def _facts(module: Module, kind: str, files: tuple[StoredFile, ...]) -> Facts:
    base, task_type = module.config.base_model, module.config.task_type
    said = {file.name: file.sha256 for file in files if file.name in (CARD, LICENSE, RECORD)}
    identity = json.dumps([module.sha256, base, task_type, said], sort_keys=True)
    key = hashlib.sha256(identity.encode()).hexdigest()
    try:
        return Facts(key, module.sha256, kind, base, task_type, module.shapes, files)
    except ValueError as error:
        raise ModuleFileError(f"{module.folder}: cannot be in a store's index: {error}") from error


def _copy(source: Path, target: Path) -> StoredFile:
    digest, size = hashlib.sha256(), 0
    largest = _LARGEST.get(source.name)
    with open_file(source, ModuleFileError) as file, target.open("xb") as out:
        while block := file.read(1 << 20):
            size += len(block)
            if largest is not None and size > largest:
                raise ModuleFileError(f"{source}: larger than {largest >> 20} MB, which no file of its kind is")
            digest.update(block)
            out.write(block)
    return StoredFile(target.name, digest.hexdigest(), size)


def _marks(folder: Path) -> dict[str, tuple[int, ...]]:
    """What changes when one of a module's files in a folder does."""
    found: dict[str, tuple[int, ...]] = {}
    for name in KEPT_FILES:
        with suppress(FileNotFoundError):
            status = (folder / name).stat()
            found[name] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def default_name(source: str | Path) -> str:
    """What a module is called where no name is given: its folder's name, or its Hub id's last part."""
    path = user_path(source)
    return path.resolve().name if path.is_dir() else str(source).rpartition("/")[2]
