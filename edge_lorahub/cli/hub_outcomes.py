"""What is printed of modules that are added to the local store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import EdgeLorahubError, StoreError
from .printable import count_of, say, say_json

if TYPE_CHECKING:
    from ..sharing.adding import Outcome


def print_outcomes(outcomes: Iterable[Outcome], total: int, as_json: bool, *, quiet: bool = False) -> None:
    """Says what became of modules as it is known, or with `quiet` in the end how many are new.

    Raises the error of a single one, or how many have one.
    """
    errors: list[EdgeLorahubError] = []
    rows: list[dict[str, object]] = []
    for outcome in outcomes:
        name = outcome.wanted.name
        if outcome.error is not None:
            errors.append(outcome.error)
            rows.append({"name": name, "error": str(outcome.error)})
            if total > 1:
                say(f"not added: {outcome.error}", err=True)
            continue
        rows.append({"name": name, "sha256": outcome.sha256, "new": outcome.new, "repaired": outcome.repaired})
        if not as_json and not quiet:
            what = "added" if outcome.new else "repaired" if outcome.repaired else "there already"
            say(f"{what}: {name} ({outcome.sha256[:12]})")
    if as_json:
        say_json(rows)
    elif quiet:
        new, repaired = (sum(row.get(key) is True for row in rows) for key in ("new", "repaired"))
        mended = f"{repaired} repaired, " if repaired else ""
        there = len(rows) - len(errors) - new - repaired
        say(f"{count_of(new, 'module')} added, {mended}{there} there already")
    if errors and total == 1:
        raise errors[0]
    if errors:
        raise StoreError(f"{len(errors)} of {count_of(total, 'module')} not added, for the reasons above")
