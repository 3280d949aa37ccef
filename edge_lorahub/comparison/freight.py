"""What a cell reads from disk, so that another machine has it: folders of files with their digests."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from platformdirs import user_cache_path

from ..bundle.manifest import MANIFEST, read_manifest
from ..composition.record_file import SIDECAR
from ..errors import SettingsError
from ..files.locks import locked
from ..files.outputs import replaced_folder, sha256
from ..lora.peft_config import CONFIG
from ..lora.peft_files import PICKLED, SAFETENSORS
from .cell import Cell, digest_of

# Of a module all is read that may change what is learned: a search reads its card too.
_OF_A_MODULE = (CONFIG, SAFETENSORS, PICKLED, SIDECAR, "README.md")
# Bytes that travel at once.
PIECE = 8 << 20
# How often a process looks whether another one is done with the same freight, in seconds.
_AGAIN = 0.1


@dataclass(frozen=True)
class Freight:
    """A folder's files that are read, by name: the SHA-256 of each, None: it is not there."""

    folder: Path
    files: tuple[tuple[str, str | None], ...]

    @cached_property
    def digest(self) -> str:
        """Of the contents, wherever they lie."""
        return digest_of(self.files)

    @property
    def names(self) -> list[str]:
        """Of the files that are there."""
        return [name for name, digest in self.files if digest is not None]

    def lies_in(self, folder: Path) -> bool:
        """Whether a folder has just these files, to the last bit. Reads them."""
        return all(_digest(folder / name) == digest for name, digest in self.files)


def freights_of(cells: Sequence[Cell]) -> list[Freight]:
    """What cells read: each bundle and each module once. Raises BundleError, MissingPathError or OSError."""
    bundles = dict.fromkeys((cell.bundle, cell.bundle_sha256) for cell in cells)
    modules = dict.fromkeys(module.folder for cell in cells for module in cell.modules)
    found = []
    for folder, manifest_sha256 in bundles:
        files = {MANIFEST: manifest_sha256, **read_manifest(folder).sha256}
        found.append(Freight(folder, tuple(files.items())))
    return found + [_of_module(folder) for folder in modules]


def _of_module(folder: Path) -> Freight:
    files = {name: _digest(folder / name) for name in _OF_A_MODULE}
    if files[CONFIG] is None or (files[SAFETENSORS] is None and files[PICKLED] is None):
        raise SettingsError(
            f"{folder}: not a PEFT folder, which is all that travels to other machines; make one of it with "
            "`edge-lorahub convert --to peft`, or compare with --engine local"
        )
    return Freight(folder, tuple(files.items()))


def pieces(path: Path) -> Iterator[bytes]:
    """A file's contents, so much of it at once as may travel."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def cached(freight: Freight) -> Path:
    """Where this machine keeps a freight; see `keep`."""
    return Path(user_cache_path("edge-lorahub")) / "freight" / freight.digest


def keep(freight: Freight, contents: Callable[[str], Iterable[bytes]]) -> Path:
    """The folder in which this machine keeps a freight: filled, whole or not at all, by the first process that asks.

    contents: of a file by its name, in pieces. Raises SettingsError for contents that are not what the digest says, and
    NotWritableError or OutputFailedError.
    """
    out = cached(freight)
    with _alone(out):
        if not freight.lies_in(out):
            with replaced_folder(out) as work:
                work.mkdir()
                for name, digest in freight.files:
                    if digest is not None and _written(work / name, contents(name)) != digest:
                        raise SettingsError(
                            f"{freight.folder / name}: not what its digest says; it was damaged, or changed since the "
                            "comparison began; put it right, and begin the comparison again"
                        )
    return out


def _written(path: Path, contents: Iterable[bytes]) -> str:
    """Writes a file. Gives its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in contents:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Waits until no other process of this machine fills a folder.

    Where there are no locks several of them do the same work: a folder takes its name whole all the same.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError:
        yield  # writing fails alike, and says so
        return
    try:
        while not _is_taken(descriptor):
            time.sleep(_AGAIN)
        yield
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int) -> bool:
    try:
        locked(descriptor)
    except BlockingIOError:
        return False
    return True


def _digest(path: Path) -> str | None:
    """A file's SHA-256; None where there is none, or none that can be read."""
    try:
        return sha256(path)
    except OSError:
        return None
