"""What the modules of a search were composed of and learned from themselves, where they are adapters of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..errors import warn
from ..examples.example import Example
from ..lora.module import Module
from .record import Composed, LearnedPart, Record
from .record_check import digest_front
from .record_file import OldRecordError, read_record


def composed_among(modules: Iterable[Module]) -> tuple[Composed, ...] | None:
    """Those of the modules that are adapters of ours, and what their records know of their own; None: there are none.

    So a record says it when they are gone. Raises what `read_record` raises for a record that is damaged.
    """
    found: dict[str, Composed] = {}
    for module, record in _recorded(modules):
        for composed in (_of(record, module.sha256), *(record.composed or ())):
            found.setdefault(composed.sha256, composed)
    return tuple(found.values()) or None


def check_records(modules: Iterable[Module]) -> None:
    """Raises what `read_record` raises for a record that is damaged."""
    for _ in _recorded(modules):
        pass


def warn_of_modules_examples(modules: Iterable[Module], examples: Sequence[Example], what: str) -> None:
    """Warns of modules that were learned from some of the examples themselves. what: the examples are to be."""
    digests = {digest_front(example) for example in examples}
    for module, record in _recorded(modules):
        if not digests.isdisjoint(record.examples.each):
            warn(
                f"{module.name}: a module that was learned from some of the examples that are {what}, so what it gains "
                "on them is no sign of what composing gains; leave it out to see that"
            )


def _recorded(modules: Iterable[Module]) -> Iterator[tuple[Module, Record]]:
    for module in modules:
        try:
            record = read_record(module)
        except OldRecordError:
            continue
        if record is not None:
            yield module, record


def _of(record: Record, sha256: str) -> Composed:
    weighted = ((part, record.weights[part.name]) for part in record.modules)
    parts = tuple(LearnedPart(part.name, part.sha256, weight) for part, weight in weighted if weight)
    return Composed(sha256, record.settings.composition, parts)
