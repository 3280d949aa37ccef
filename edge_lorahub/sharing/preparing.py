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
from ..files.kinds import ONNX_ADAPTER
from ..files.outputs import sha256
from ..files.reading import LARGEST_JSON, open_file
from ..files.user_path import user_path
from ..hub.entry import CARD, CONFIG, KEPT_FILES, LICENSE, RECORD, TENSORS, Facts, StoredFile
from ..lora.loading import load_module, module_path
from ..lora.mlx_files import ADAPTERS
from ..lora.module import Module
from ..lora.peft_files import write_peft
from .descriptions import described

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
    """Copies a module to the folder `work`, which is made; one of another form than PEFT's is written as PEFT's.

    Raises ModuleFileError, MissingPathError, HubError or OSError.
    """
    folder = module_path(source, revision, card=True)
    # what is read is what is copied, unless somebody writes there at the same time
    before = _marks(folder)
    module = load_module(folder, name=name)
    try:
        kind = "module" if read_record(module) is None else "adapter"
    except OldRecordError:
        kind = "module"
    more = [each for each in (CARD, LICENSE, RECORD) if (folder / each).is_file()]
    work.mkdir()
    if module.file.name in TENSORS:
        files = [_copy(folder / each, work / each) for each in (CONFIG, module.file.name, *more)]
    else:  # of another program's form: kept as peft writes it
        write_peft(work, module.base_model, dict(module.loras()), module.task_type)
        files = [*map(_stored, sorted(work.iterdir())), *(_copy(folder / each, work / each) for each in more)]
    if _marks(folder) != before:
        raise ModuleFileError(f"{folder}: changed while it was read; add it again when nothing writes there")
    local = user_path(source)
    said = os.fsencode(local.absolute()).decode(errors="replace") if local.exists() else str(source)
    kept = tuple(sorted(files, key=lambda file: file.name))
    return Prepared(name, said, work, _facts(module, kind, kept, described(work)))


def _facts(module: Module, kind: str, files: tuple[StoredFile, ...], description: str) -> Facts:
    base, task_type = module.base_model, module.task_type
    said = {file.name: file.sha256 for file in files if file.name in (CARD, LICENSE, RECORD)}
    identity = json.dumps([module.sha256, base, task_type, said], sort_keys=True)
    key = hashlib.sha256(identity.encode()).hexdigest()
    try:
        return Facts(key, module.sha256, kind, base, task_type, module.shapes, files, description)
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


def _stored(path: Path) -> StoredFile:
    return StoredFile(path.name, sha256(path), path.stat().st_size)


def _marks(path: Path) -> dict[str, tuple[int, ...]]:
    """What changes when one of a module's files in a folder does, or the file that it is."""
    found: dict[str, tuple[int, ...]] = {}
    named = [path] if path.is_file() else [path / name for name in (*KEPT_FILES, ADAPTERS)]
    for each in (*named, *path.glob(f"*{ONNX_ADAPTER}")):
        with suppress(FileNotFoundError):
            status = each.stat()
            found[each.name] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def default_name(source: str | Path) -> str:
    """What a module is called where no name is given: its folder's name, or its Hub id's last part."""
    path = user_path(source)
    if path.is_file():
        return path.stem
    return path.resolve().name if path.is_dir() else str(source).rpartition("/")[2]
