"""The journal of `adapt`, beside its output: kept while a search is unfinished or its adapter unsaved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ..errors import EdgeLorahubError, JournalError, ObjectiveError
from ..files.outputs import keep_text
from ..files.write_errors import write_error
from ..search.journal import Journal
from ..search.journal_file import check_journal, remove_saved, saved_in
from .printable import count_of, say

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
        self.saved = resume and self._was_saved()

    def _was_saved(self) -> bool:
        """Whether the search had ended, and its adapter is saved: then the journal goes.

        The process may have been killed between the two, and its inputs may not be what they were: with --warm-start,
        --force may have replaced an input by the result.
        """
        from ..lora.loading import load_module

        digests = saved_in(self._path)
        if not digests or not self._out.is_dir():
            return False
        try:
            if load_module(self._out).sha256 not in digests:
                return False
        except EdgeLorahubError:
            return False
        remove_saved(self._path)
        say(f"{self._out}: saved already, so nothing was left to do but to remove {self._path}", err=True)
        return True

    def open(self, digest: str) -> Journal:
        """Raises JournalError for a journal of another search."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(self._path, digest, resume=self._resume, overwrite=self._force)
        except OSError as error:
            raise write_error(error, self._out, [self._out.parent]) or error from error
        if self._resume:
            say(f"resumed: {count_of(self._journal.candidates, 'candidate')} known", err=True)
        return self._journal

    def __enter__(self) -> JournalKeeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Where a search is ended, says how to go on; a journal that was begun and is of no use goes."""
        journal = self._journal
        if journal is None or error is None:
            return
        begun = not self._resume and not journal.candidates
        if begun or isinstance(error, ObjectiveError):
            journal.remove()
            return
        journal.close()
        if journal.candidates and not isinstance(error, JournalError):  # which says itself what to do
            say(
                "",
                f"ended after {count_of(journal.candidates, 'candidate')}, which {self._path} keeps: the same command "
                "with --resume goes on, and with --resume --keep-best takes the best so far",
                err=True,
            )

    @contextmanager
    def until_saved(self, result: Learned) -> Iterator[Callable[[str], None]]:
        """The journal goes when the adapter is saved; if that fails, the weights are printed, and it stays.

        It also stays with the best so far of a search that could go on. What it gives is to be called with the
        adapter's digest before that is saved.
        """
        journal = self._journal
        assert journal is not None
        unfinished = self.keep_best and not result.converged and len(result.trace) < result.budget
        saved = False
        try:
            yield (lambda digest: None) if unfinished else journal.saving
            saved = True
        finally:
            if not saved:
                journal.close()
                self._print(result)
            elif unfinished:
                journal.close()
                say(f"{self._path} keeps the search: the same command with --resume --force, and without --keep-best, "
                    "goes on", err=True)  # fmt: skip
            else:
                journal.remove()

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
