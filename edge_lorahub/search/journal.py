"""A search's journal: every candidate on disk as soon as it was evaluated, so that a search that was ended goes on.

JSON lines. The first says what the search is of, by a digest; the others hold observations, and the budget once it is
fixed. Numbers are read back to the last bit, and a strategy told the same asks for the same: so a search that goes on
ends as one that was never ended. A last line that was torn is dropped.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EdgeLorahubWarning, JournalError
from ..files.reading import open_file
from ..label_logits import LabelLogits
from .budget import Budget
from .strategy import Float64, Observation, Proposal

_NAME, _FORMAT = "edge-lorahub journal", 1
# A journal's first line has at most so many bytes: what is longer is no journal.
_MOST_HEADER = 4096


class Journal:
    """The journal of one search, open for writing; `known` is what it held already, in order."""

    def __init__(self, path: Path, digest: str, *, resume: bool, overwrite: bool = False) -> None:
        """digest: of all that the search depends on. resume: go on with the journal that is there.

        overwrite: begin anew where one is there. Raises JournalError for a journal that is there without either, for
        none that could be resumed, for one of another search, and for a file that is no journal at all.
        """
        self.path = path
        self.known: list[Observation] = []
        self._budget: Budget | None = None
        self.candidates = 0
        self.whole = True  # until something cannot be written
        check_journal(path, resume=resume, overwrite=overwrite)
        if resume:
            self._read(digest)
            return
        # under another name until it is whole: a journal without its first line is none
        begun = path.with_name(f"{path.name}.new")
        self._file = begun.open("w", encoding="ascii")
        try:
            self._file.write(json.dumps({"name": _NAME, "format": _FORMAT, "digest": digest}) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            begun.replace(path)
        except OSError:
            self.close()
            begun.unlink(missing_ok=True)
            raise

    def _read(self, digest: str) -> None:
        if _header(self.path).get("digest") != digest:
            raise JournalError(
                f"{self.path}: the journal of a search with other inputs or settings; give the same ones, or begin "
                "anew with --force and without --resume"
            )
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[1:-1], 2):
            try:
                row = json.loads(line)
                if "budget" in row:
                    self._budget = Budget(int(row["budget"]), str(row["reason"]))
                else:
                    self.known.extend(_observation(one) for one in row["seen"])
            except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
                raise JournalError(f"{self.path}, line {number}: damaged ({error}); begin anew with --force") from error
        self.candidates = len(self.known)
        self._file = self.path.open("r+", encoding="ascii")
        self._file.truncate(len(whole))
        self._file.seek(0, os.SEEK_END)

    def fix_budget(self, budget: Budget) -> Budget:
        """The budget that the journal has; if it has none, this one, which it has from now on."""
        if self._budget is None:
            self._budget = budget
            self._write({"budget": budget.candidates, "reason": budget.reason})
        return self._budget

    def record(self, seen: list[Observation]) -> None:
        """Writes observations, all of them or none."""
        self._write({"seen": [_row(observation) for observation in seen]})
        self.candidates += len(seen)

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
        """The search has ended, and what it found is saved."""
        self.close()
        self.path.unlink(missing_ok=True)


def check_journal(path: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuses what `Journal` would, as far as the file itself tells. Raises JournalError."""
    if not path.exists():
        if resume:
            raise JournalError(f"{path}: no journal to resume from; leave --resume out to begin a search")
        return
    _header(path)
    if not resume and not overwrite:
        raise JournalError(
            f"{path}: the journal of a search that did not end; --resume goes on with it, --force begins anew"
        )


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
            group = list(evaluate(rest))
            journal.record(group)
            yield from group
        else:
            for observation in evaluate(rest):
                journal.record([observation])
                yield observation
        journal.sync()

    return wrapped


def _header(path: Path) -> dict[str, Any]:
    """A journal's first line. Raises JournalError if there is none."""
    try:
        with open_file(path, JournalError) as file:
            line = file.readline(_MOST_HEADER)
        header = json.loads(line)
        if line.endswith(b"\n") and header["name"] == _NAME and header["format"] == _FORMAT:
            return dict(header)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise JournalError(f"{path}: in the place of the search's journal, and no journal of this version; move it away")


def _row(observation: Observation) -> dict[str, Any]:
    row: dict[str, Any] = {"weights": observation.weights.tolist()}
    row["loss"] = observation.loss if np.isfinite(observation.loss) else None  # stopped early
    if observation.losses is not None:
        row["losses"] = [loss if np.isfinite(loss) else None for loss in observation.losses.tolist()]
    if observation.logits is not None:
        logits = observation.logits
        row["logits"] = [_packed(logits.tokens, "<i4"), _packed(logits.logits, "<f4"), _packed(logits.rest, "<f4")]
    return row


def _observation(row: dict[str, Any]) -> Observation:
    losses = row.get("losses")
    logits = None
    if "logits" in row:
        tokens, values, rest = row["logits"]
        rest_array = np.frombuffer(base64.b64decode(rest), "<f4").astype(np.float32)
        shape = len(rest_array), -1
        logits = LabelLogits(
            np.frombuffer(base64.b64decode(tokens), "<i4").astype(np.int64).reshape(shape),
            np.frombuffer(base64.b64decode(values), "<f4").astype(np.float32).reshape(shape),
            rest_array,
        )
        if logits.tokens.shape != logits.logits.shape:
            raise ValueError("tokens and logits differ in number")
    return Observation(
        _floats(row["weights"]),
        np.inf if row["loss"] is None else float(row["loss"]),
        None if losses is None else _floats(losses),
        logits,
    )


def _floats(values: list[float | None]) -> Float64:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _packed(array: np.ndarray[Any, Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode("ascii")
