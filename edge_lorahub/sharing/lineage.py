"""What a stored adapter was composed of, by its record; and those parts that are in the store too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..composition.record import Record
from ..composition.record_file import OldRecordError, read_record
from ..hub.entry import Entry
from .module_hub import Hub


@dataclass(frozen=True)
class Part:
    """A module with a weight in an adapter: its name then, its `Module.sha256`, and its names in the store now."""

    name: str
    weight: float
    sha256: str
    stored_as: Sequence[str]

    def json(self) -> dict[str, Any]:
        return {"name": self.name, "weight": self.weight, "sha256": self.sha256, "stored_as": list(self.stored_as)}


def record_of(hub: Hub, entry: Entry) -> Record | None:
    """An entry's record; None for a module of other origin. Raises StoreError for files that were changed."""
    (module,) = hub.load([entry])
    try:
        return read_record(module)
    except OldRecordError:
        return None


def parts_of(hub: Hub, entry: Entry) -> list[Part]:
    """The parts with a weight, those with the most first."""
    record = record_of(hub, entry)
    if record is None:
        return []
    parts = [
        Part(module.name, record.weights[module.name], module.sha256, hub.names_of(module.sha256))
        for module in record.modules
        if record.weights[module.name]
    ]
    return sorted(parts, key=lambda part: -abs(part.weight))
