"""The file of an adapter's record, beside its matrices: one reader, one writer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ModuleFileError
from ..files.outputs import read_json
from ..files.typed_json import UnknownFieldError, read_as, to_json
from ..lora.module import Module
from .record import Record

SIDECAR = "edge_lorahub.json"
RECORD_VERSION = 1
# It has every candidate: the longest searches with the most modules make tens of megabytes.
_LARGEST = 256 << 20
# What the file has beside the record's own fields: its version, the `lora.identity` of the matrices, and the digests of
# the adapter's other files, by which `--force` knows them again.
_VERSION, _MATRICES, _FILES = "format_version", "adapter_sha256", "sha256"
_REMEDY = f"copy the adapter again, or remove {SIDECAR} to use it as any other LoRA module"


class OldRecordError(ModuleFileError):
    """A record of before records had a version."""


def record_json(record: Record) -> dict[str, Any]:
    """A record as the file has it, but for the digest of the matrices."""
    return {_VERSION: RECORD_VERSION, **to_json(record)}


def write_record(folder: Path, record: Record, matrices: str, files: Mapping[str, str]) -> None:
    """Writes the file; matrices: the adapter's own `lora.identity`; files: the digests of the other files by name."""
    fields = {**record_json(record), _MATRICES: matrices, _FILES: dict(files)}
    text = json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / SIDECAR).write_text(text + "\n", encoding="utf-8")


def read_record(module: Module) -> Record | None:
    """The record beside a module's file; None for a module of other origin.

    Raises ModuleFileError for a record that is damaged or newer than this program, and where the matrices are not those
    that it was written for; OldRecordError for one without a version.
    """
    path = module.folder / SIDECAR
    if not module.is_stored or not path.exists():
        return None
    fields = read_json(path, ModuleFileError, largest=_LARGEST)
    _check_version(path, fields.pop(_VERSION, None))
    digest = fields.pop(_MATRICES, None)
    fields.pop(_FILES, None)
    try:
        if not isinstance(digest, str):
            raise ValueError(f"{_MATRICES} is missing or no text")
        record = read_as(Record, fields)
    except UnknownFieldError as error:
        raise ModuleFileError(f"{path}: {error}; update edge-lorahub") from error
    except ValueError as error:
        raise ModuleFileError(f"{path}: {error}; {_REMEDY}") from error
    if digest != module.sha256:
        raise ModuleFileError(
            f"{module.file}: not the matrices that {SIDECAR} was written for (sha256 {module.sha256[:12]}, there "
            f"{digest:.12}): damaged, or changed since; copy the adapter again, or remove {SIDECAR} if the change "
            "is meant"
        )
    return record


def _check_version(path: Path, version: object) -> None:
    if version is None:
        raise OldRecordError(f"{path}: a record without a format version, as edge-lorahub 0.1.0 wrote them")
    if type(version) is not int or version < 1:
        raise ModuleFileError(f"{path}: {_VERSION} is {version!r:.40}, where {RECORD_VERSION} was expected; {_REMEDY}")
    if version > RECORD_VERSION:
        raise ModuleFileError(
            f"{path}: format version {version}, but this program reads {RECORD_VERSION}; update edge-lorahub"
        )
