"""Adapters by name: some in memory, those used last, and those that are kept in a folder."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from ..bundle.manifest import Manifest
from ..composition.adapter import ADAPTER_FILES, Adapter, load_adapter
from ..composition.inputs import LoraInputs
from ..errors import MissingPathError, warn
from ..files.kinds import modules_in
from ..files.outputs import remove_output_folder
from .heard import hearing
from .limits import Limits
from .refusal import Refusal

# No separators, and no dot at either end: such a name is an entry of one folder, whatever the system.
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?", re.ASCII)
# What Windows has devices for, whatever comes behind a dot.
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Held:
    """An adapter in memory, ready to run; both parts are only read. size: their bytes.

    warnings: what was said of it when it was read; they belong to every answer.
    """

    adapter: Adapter
    inputs: LoraInputs
    size: int
    warnings: tuple[str, ...] = ()


class Shelf:
    """For several threads. What is in memory alone is lost when it is not used for long; what is in the folder stays.

    Names are checked before they become a part of a path.
    """

    def __init__(self, manifest: Manifest, folder: Path | None, limits: Limits, taken: str) -> None:
        """folder: None keeps nothing. taken: a name that no adapter may have, that of the bundle."""
        self._manifest, self._folder, self._limits, self._taken = manifest, folder, limits, taken
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._reserved: set[str] = set()
        # of what is in memory, and of what is in the folder, which takes longer
        self._lock, self._writing = threading.Lock(), threading.Lock()
        strange = [] if folder is None else [path.name for path in modules_in(folder) if not _is_name(path.name)]
        if strange:
            warn(f"{folder}: {strange[0]!r:.80} cannot be a name in a request, and is left out; rename the folder")

    @property
    def keeps(self) -> bool:
        return self._folder is not None

    @property
    def held(self) -> tuple[int, int]:
        """How many are in memory, and their bytes."""
        with self._lock:
            return len(self._held), sum(one.size for one in self._held.values())

    def names(self) -> dict[str, tuple[bool, bool]]:
        """By name, whether it is in memory and whether in the folder."""
        with self._lock:
            held = set(self._held)
        kept = self._kept()
        return {name: (name in held, name in kept) for name in sorted(held | kept)}

    def get(self, name: str) -> Held:
        """The adapter, read from the folder where it is not in memory. Raises Refusal (404), or what reading raises."""
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
                return self._held[name]
        path = self._path_of_kept(name)
        if path is None:
            raise _unknown(name)
        with hearing() as heard:
            adapter = load_adapter(path, self._manifest)
            return self.put(name, adapter, heard)

    def reserve(self, name: str | None) -> str:
        """Keeps a name free for `put`, up to `release`; None: one that is free. Raises Refusal."""
        kept = self._kept()
        with self._lock:
            if name is None:
                name = next(one for one in map("adapted-{}".format, count(1)) if not self._is_used(one, kept))
            self._check_free(name, kept)
            self._reserved.add(name.lower())
        return name

    def release(self, name: str) -> None:
        with self._lock:
            self._reserved.discard(name.lower())

    def put(self, name: str, adapter: Adapter, warnings: Sequence[str] = ()) -> Held:
        """Takes an adapter into memory; others that were not used for longer may go."""
        inputs = adapter.inputs(self._manifest)
        pairs = sum(lora.a.nbytes + lora.b.nbytes for _, lora in adapter.loras())
        size = pairs + sum(array.nbytes for array in inputs.arrays.values())
        held = Held(adapter, inputs, size, tuple(warnings))
        with self._lock:
            self._held[name] = held
            self._held.move_to_end(name)
            while len(self._held) > 1 and self._too_much():
                self._held.popitem(last=False)
        return held

    def save(self, name: str, source: str) -> None:
        """Writes an adapter into the folder under a name. Raises Refusal where the name is in use, or no folder is."""
        held = self.get(source)
        if self._folder is None:
            raise Refusal(409, "adapters are not kept here: the service was started without --adapters")
        with self._writing:
            kept = self._kept()
            with self._lock:
                # that of an adapter in memory alone is its own
                self._check_free(name, kept, but=source if source not in kept else None)
            held.adapter.save(self._folder / check_name(name))
        if name != source:
            self.put(name, replace(held.adapter, name=name))

    def remove(self, name: str) -> None:
        """Forgets an adapter, and deletes it from the folder. Raises Refusal (404), or 409 for what we did not make."""
        with self._writing:
            path = self._path_of_kept(name)
            if path is not None:
                with suppress(MissingPathError):
                    remove_output_folder(path, ADAPTER_FILES)
            with self._lock:
                if self._held.pop(name, None) is None and path is None:
                    raise _unknown(name)

    def _too_much(self) -> bool:
        size = sum(one.size for one in self._held.values())
        return len(self._held) > self._limits.adapters or size > self._limits.adapter_bytes

    def _is_used(self, name: str, kept: set[str]) -> bool:
        used = {other.lower() for other in (*self._held, *kept, self._taken)} | self._reserved
        return name.lower() in used  # a folder on Windows or a Mac has one of both

    def _check_free(self, name: str, kept: set[str], but: str | None = None) -> None:
        if check_name(name) != but and self._is_used(name, kept):
            raise Refusal(409, f"{name}: the name is in use; take another", param="name", code="exists")

    def _kept(self) -> set[str]:
        if self._folder is None:
            return set()
        return {path.name for path in modules_in(self._folder) if _is_name(path.name)}

    def _path_of_kept(self, name: str) -> Path | None:
        """Where an adapter of this name is kept, None where none is."""
        return self._folder / name if self._folder is not None and name in self._kept() else None


def check_name(name: str) -> str:
    """The name, if it may be an adapter's. Raises Refusal."""
    if not _is_name(name):
        what = "1 to 64 of the letters a to z, digits, -, _ and . within"
        raise Refusal(400, f"name: must be {what}, got {name!a:.80}", param="name")
    return name


def _is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and not _RESERVED.fullmatch(name)


def _unknown(name: str) -> Refusal:
    return Refusal(404, f"{name!a:.80}: no such model or adapter here", param="model", code="model_not_found")
