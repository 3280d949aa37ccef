"""The journal of `adapt`, beside its output: kept while a search is unfinished or its adapter unsaved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import ObjectiveError
from ..files.outputs import keep_text
from ..files.write_errors import write_error
from ..search.journal import Journal, check_journal
from .printable import say

if TYPE_CHECKING:
    from ..learning.learned import Learned

# Weights that are printed where they cannot be saved.
_SHOWN = 40


class JournalKeeper:
    """Opens the journal for the search, says how to go on when it is ended, and removes it once all is saved.

    Raises JournalError for a journal that is in the way, or none to resume, before the slow part.
    """

    def __init__(self, out: Path, *, resume: bool, keep_best: bool, force: bool) -> None:
        self.keep_best = keep_best
        self._out = out
        self._path = out.parent / f"{out.name}.journal.jsonl"
        self._resume, self._force = resume, force
        self._journal: Journal | None = None
        check_journal(self._path, resume=resume, overwrite=force)

    def open(self, digest: str) -> Journal:
        """Raises JournalError for a journal of another search."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(self._path, digest, resume=self._resume, overwrite=self._force)
        except OSError as error:
            raise write_error(error, self._out, [self._out.parent]) or error from error
        if self._resume:
            say(f"resumed: {self._journal.candidates} candidates are known", err=True)
        return self._journal

    def __enter__(self) -> JournalKeeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Where a search is ended, says how to go on; a journal that is of no use goes."""
        if self._journal is None or error is None:
            return
        self._journal.close()
        if not self._journal.candidates or isinstance(error, ObjectiveError):
            self._path.unlink(missing_ok=True)
        else:
            say(
                "",
                f"ended after {self._journal.candidates} candidates, which {self._path} keeps: the same command with "
                "--resume goes on, and with --resume --keep-best takes the best so far",
                err=True,
            )

    @contextmanager
    def until_saved(self, result: Learned) -> Iterator[None]:
        """The journal goes when the adapter is saved; if that fails, the weights are printed, and it stays."""
        assert self._journal is not None
        self._journal.close()
        saved = False
        try:
            yield
            saved = True
        finally:
            if saved:
                self._journal.remove()
            else:
                self._print(result)

    def _print(self, result: Learned) -> None:
        rows = sorted(result.weights.items(), key=lambda item: -abs(item[1]))
        weights = ", ".join(f"{name} {weight:+.4f}" for name, weight in rows[:_SHOWN] if weight)
        assert self._journal is not None
        if self._journal.whole:
            kept = f" {self._path} keeps them all: the same command with --resume saves without searching"
        else:
            text = json.dumps({"weights": result.weights}, indent=1) + "\n"
            saved = keep_text(f"{self._out.name}.weights.json", text, [self._out.parent])
            kept = f" {saved} keeps them all" if saved else ""
        say(f"the adapter could not be saved; its weights: {weights or 'all 0'}.{kept}", err=True)
