"""A search's journal: every candidate on disk as soon as it was evaluated, so that a search that was ended goes on.

JSON lines. The first says what the search is of, by a digest; the others hold observations with the time that they
took, the number of threads, the budget once it is fixed, and a digest of what is about to be saved. Numbers are read
back to the last bit, and a strategy told the same asks for the same: so a search that goes on ends as one that was
never ended. A last line that was torn is dropped.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EdgeLorahubWarning, JournalError
from .budget import Budget
from .journal_file import FORMAT, NAME, check_journal, damaged, is_at, open_locked, read_header, read_rows
from .journal_rows import observation_of, row_of
from .strategy import Observation, Proposal


class Journal:
    """The journal of one search, open for writing; `known` is what it held already, in order.

    It is locked as long as it is open, so that two processes never write to one, or remove each other's.
    """

    def __init__(self, path: Path, digest: str, *, resume: bool, overwrite: bool = False) -> None:
        """digest: of all that the search depends on. resume: go on with the journal that is there.

        overwrite: begin anew where one is there. Raises JournalError for a journal that is there without either, for
        none that could be resumed, for one of another search or that another process has open, and for a file that is
        no journal at all.
        """
        self.path = path
        self.known: list[Observation] = []
        # what evaluating each of them took, in seconds, as far as the journal says
        self.known_seconds: list[float] = []
        self.elapsed = 0.0  # seconds of the processes that searched before
        self.candidates = 0
        self.whole = True  # until something cannot be written
        self._budget: Budget | None = None
        self._threads: int | None = None
        self._opened = time.perf_counter()
        check_journal(path, resume=resume, overwrite=overwrite)
        if resume:
            self._file = open_locked(path, path)
            try:
                self._read(digest)
            except BaseException:
                self.close()
                raise
            return
        # under another name until it is whole: a journal without its first line is none
        begun = path.with_name(f"{path.name}.new")
        self._file = open_locked(begun, path)
        try:
            # another process may have begun meanwhile
            check_journal(path, resume=False, overwrite=overwrite)
            self._file.truncate(0)
            self._file.write(json.dumps({"name": NAME, "format": FORMAT, "digest": digest}) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            begun.replace(path)
        except BaseException:
            begun.unlink(missing_ok=True)
            self.close()
            raise

    def _read(self, digest: str) -> None:
        if read_header(self.path).get("digest") != digest:
            raise JournalError(
                f"{self.path}: the journal of a search with other inputs or settings; give the same ones, or begin "
                "anew with --force and without --resume"
            )
        rows, size = read_rows(self.path)
        for number, row in rows:
            try:
                if "budget" in row:
                    self._budget = Budget(int(row["budget"]), str(row["reason"]))
                elif "threads" in row:
                    self._threads = int(row["threads"])
                elif "seen" in row:
                    seen = [observation_of(one) for one in row["seen"]]
                    self.known.extend(seen)
                    self.known_seconds += [float(row.get("seconds", 0)) / max(1, len(seen))] * len(seen)
                    self.elapsed = float(row.get("elapsed", 0))
                elif not isinstance(row["saved"], str):
                    raise ValueError("no digest of what was saved")
            except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
                raise damaged(self.path, number, error) from error
        self.candidates = len(self.known)
        self._file.truncate(size)
        self._file.seek(0, os.SEEK_END)

    @property
    def has_budget(self) -> bool:
        """Whether the budget was fixed."""
        return self._budget is not None

    def fix_budget(self, budget: Budget) -> Budget:
        """The budget that the journal has; if it has none, this one, which it has from now on."""
        if self._budget is None:
            self._budget = budget
            self._write({"budget": budget.candidates, "reason": budget.reason})
        return self._budget

    def go_on_with(self, threads: int) -> int | None:
        """Says with how many threads candidates are evaluated from now on; gives with how many they were before."""
        before, self._threads = self._threads, threads
        if before != threads:
            self._write({"threads": threads})
        return before

    def record(self, seen: list[Observation], seconds: float) -> None:
        """Writes observations, all of them or none; seconds: what evaluating them took."""
        elapsed = self.elapsed + time.perf_counter() - self._opened
        rows = [row_of(observation) for observation in seen]
        self._write({"seen": rows, "seconds": round(seconds, 6), "elapsed": round(elapsed, 3)})
        self.candidates += len(seen)

    def saving(self, digest: str) -> None:
        """What the search found is about to be saved; digest: of that, by which `saved_in` finds that it was."""
        self._write({"saved": digest})
        self.sync()

    def _write(self, row: dict[str, Any]) -> None:
        if not self.whole:
            return
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()  # what the system has outlives the process
        except OSError as error:
            self._give_up(error)

    def sync(self) -> None:
        """What was written until here outlives a loss of power."""
        if self.whole:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """A search is worth more than its journal."""
        self.whole = False
        warnings.warn(
            f"{self.path}: the journal cannot be written any more ({error.strerror}); the search goes on, but cannot "
            "be resumed past this",
            EdgeLorahubWarning,
            stacklevel=2,
        )

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of what could not be written
            self._file.close()

    def remove(self) -> None:
        """Closes and deletes it: the search has ended, and what it found is saved."""
        if not self._file.closed and is_at(self._file.fileno(), self.path):
            if sys.platform == "win32":
                self.close()  # an open file cannot be removed there
            self.path.unlink(missing_ok=True)
        self.close()


def journaled(
    evaluate: Callable[[Proposal], Iterable[Observation]], journal: Journal, *, known_only: bool = False
) -> Callable[[Proposal], Iterator[Observation]]:
    """evaluate, but what the journal knows is not evaluated again, and what it does not know is written to it.

    known_only: evaluates nothing, and gives what is known alone. Raises JournalError where the journal has other
    candidates than are asked for.
    """
    if known_only and not journal.known:
        raise JournalError(f"{journal.path}: it has no candidate yet; leave --keep-best out to go on")
    known = list(reversed(journal.known))

    def wrapped(proposal: Proposal) -> Iterator[Observation]:
        population = proposal.weights
        taken = 0
        while known and taken < len(population):
            observation = known.pop()
            if not np.array_equal(observation.weights, population[taken]):
                raise JournalError(
                    f"{journal.path}: it has other candidates than this search asks for, so the program or a library "
                    "is not the one that wrote it; begin anew with --force and without --resume"
                )
            taken += 1
            yield observation
        rest = replace(proposal, weights=population[taken:])
        if known_only or not len(rest.weights):
            return
        if proposal.keep is not None:
            # which of them are stopped depends on all of them
            start = time.perf_counter()
            group = list(evaluate(rest))
            journal.record(group, time.perf_counter() - start)
            yield from group
        else:
            start = time.perf_counter()
            for observation in evaluate(rest):
                journal.record([observation], time.perf_counter() - start)
                yield observation
                start = time.perf_counter()
        journal.sync()

    return wrapped
