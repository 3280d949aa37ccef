"""What a stored adapter was composed of, by its record; and those parts that are in the store too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..composition.record import LearnedPart, Record
from ..composition.record_file import OldRecordError, read_record
from ..errors import ModuleFileError
from ..files.reading import read_file
from ..hub.entry import CARD, Entry
from ..lora.module import Module
from .module_hub import Hub

# Characters of a card in which its license is looked for, and the bytes that a stored card may have.
_FRONT, _LARGEST = 16_384, 4 << 20
_LICENSE = re.compile(r"^license:[ \t]*[\"']?([\w.+-]{1,64})[\"']?[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Part:
    """A module with a weight in an adapter: its name then, its `Module.sha256`, and its names in the store now.

    license: as its card in the store says it; None where it is not known. parts: what it was composed of itself.
    """

    name: str
    weight: float
    sha256: str
    stored_as: Sequence[str]
    license: str | None
    parts: Sequence[Part]

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "weight": self.weight,
            "sha256": self.sha256,
            "stored_as": list(self.stored_as),
            "license": self.license,
            "parts": [part.json() for part in self.parts],
        }


def record_of(module: Module) -> Record | None:
    """A stored module's record; None for a module of other origin. Raises ModuleFileError for one that is damaged."""
    try:
        return read_record(module)
    except OldRecordError:
        return None


def parts_of(hub: Hub, entry: Entry) -> list[Part]:
    """The parts with a weight, those with the most first. Raises StoreError for files that were changed."""
    (module,) = hub.load([entry])
    record = record_of(module)
    if record is None:
        return []
    parts = [LearnedPart(each.name, each.sha256, record.weights[each.name]) for each in record.modules]
    composed = {each.sha256: each.parts for each in record.composed or ()}
    return _parts(hub, [part for part in parts if part.weight], composed, {entry.sha256})


def _parts(
    hub: Hub, learned: Sequence[LearnedPart], composed: Mapping[str, Sequence[LearnedPart]], shown: set[str]
) -> list[Part]:
    """shown: whose parts are not given again. An adapter of one module may be that module, to the last number."""
    found = []
    for part in learned:
        names = hub.names_of(part.sha256)
        license = next((said for name in names if (said := license_of(hub.get(name)))), None)
        inner = [] if part.sha256 in shown else composed.get(part.sha256, ())
        shown.add(part.sha256)
        parts = _parts(hub, inner, composed, shown)
        found.append(Part(part.name, part.weight, part.sha256, names, license, parts))
    return sorted(found, key=lambda part: -abs(part.weight))


def license_of(entry: Entry) -> str | None:
    """The license that a stored module's card names; None where it has no card, or names none or several."""
    card = card_of(entry)
    if card is None or not card.startswith("---"):
        return None
    found = _LICENSE.search(card[3:_FRONT].partition("\n---")[0])
    return None if found is None else found[1]


def card_of(entry: Entry) -> str | None:
    """The text of a stored module's card; None where it has none."""
    if not (entry.folder / CARD).is_file():
        return None
    text = read_file(entry.folder / CARD, ModuleFileError, _LARGEST).decode("utf-8", errors="replace")
    return text.replace("\r\n", "\n")
