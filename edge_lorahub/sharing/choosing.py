"""Which stored modules suit a bundle, by the index alone; and a draw among them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..errors import ModuleMismatchError, SettingsError, StoreError
from ..hub.entry import Entry, Shapes
from ..lora.base_names import may_be_same

if TYPE_CHECKING:
    from ..bundle.manifest import Manifest

T = TypeVar("T")


def misfits(entries: Sequence[Entry], layouts: Mapping[str, Shapes], manifest: Manifest) -> dict[str, str]:
    """Why entries do not fit a bundle, by name: a layer that is no slot, or of another shape."""
    from ..lora.modules import check_fit  # takes a tenth of a second, which a plain list need not wait for

    reasons: dict[str, str | None] = {}
    for entry in entries:
        if entry.layout not in layouts:
            reasons[entry.layout] = "removed meanwhile"
        elif entry.layout not in reasons:
            try:
                check_fit(layouts[entry.layout], "", manifest)
                reasons[entry.layout] = None
            except ModuleMismatchError as error:
                reasons[entry.layout] = str(error).removeprefix(": ")
    found = ((entry.name, reasons[entry.layout]) for entry in entries)
    return {name: reason for name, reason in found if reason is not None}


def strangers(entries: Sequence[Entry], manifest: Manifest) -> dict[str, str]:
    """Why entries are of another base model than a bundle, by name, where they say so."""
    base = manifest.model.base_model
    return {
        entry.name: f"trained on {entry.base_model!r}, and the bundle is of {base!r}"
        for entry in entries
        if not may_be_same(entry.base_model, base)
    }


def draw(names: Sequence[T], count: int, seed: int) -> list[T]:
    """So many of them, at random: what `random.seed(seed)` and `random.sample` give, as in LoraHub's released code.

    Raises SettingsError for a count below 1, and StoreError where there are fewer.
    """
    for what, number, least in (("count", count, 1), ("seed", seed, 0)):
        if type(number) is not int or number < least:
            raise SettingsError(f"{what} must be a whole number of at least {least}, got {number!r:.40}")
    if count > len(names):
        raise StoreError(f"there are {len(names)} to draw from, and {count} were asked for; ask for fewer")
    return random.Random(seed).sample(list(names), count)
