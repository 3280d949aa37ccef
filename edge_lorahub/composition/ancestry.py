"""What the modules of a search were composed of themselves, so that a record says it when they are gone."""

from __future__ import annotations

from collections.abc import Iterable

from ..lora.module import Module
from .record import Composed, LearnedPart, Record
from .record_file import OldRecordError, read_record


def composed_among(modules: Iterable[Module]) -> tuple[Composed, ...] | None:
    """Those of the modules that are adapters of ours, and what their records know of their own; None: there are none.

    Raises what `read_record` raises for a record that is damaged.
    """
    found: dict[str, Composed] = {}
    for module in modules:
        try:
            record = read_record(module)
        except OldRecordError:
            continue
        if record is not None:
            for composed in (_of(record, module.sha256), *(record.composed or ())):
                found.setdefault(composed.sha256, composed)
    return tuple(found.values()) or None


def _of(record: Record, sha256: str) -> Composed:
    weighted = ((part, record.weights[part.name]) for part in record.modules)
    parts = tuple(LearnedPart(part.name, part.sha256, weight) for part, weight in weighted if weight)
    return Composed(sha256, record.settings.composition, parts)
