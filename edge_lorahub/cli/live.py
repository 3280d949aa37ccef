"""What a search shows of itself while it runs, on standard error: a live view, or lines where that is no terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .printable import printable

if TYPE_CHECKING:
    from ..search.budget import Budget
    from ..search.strategy import Candidate

# Weights shown of the best candidate, and the width of the longest bar.
_SHOWN, _BAR = 6, 12
# Where there is no terminal: seconds between two lines of one phase.
QUIET = 10.0


class SearchView:
    """Shows the phase, the best and the current loss, the best candidate's largest weights, and the time left."""

    def __init__(self, names: Sequence[str]) -> None:
        """names: of the modules, in the order of the weights."""
        self._names = list(map(printable, names))
        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None
        self._progress = Progress(
            TextColumn("{task.fields[phase]}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("loss {task.fields[current]}, best {task.fields[best]}"), TimeRemainingColumn(),
        )  # fmt: skip
        self._task = self._progress.add_task("", total=None, phase="starting", current="-", best="-")
        self._best: Candidate | None = None
        self._seen = 0
        self._phase = ""
        self._told = time.monotonic()
        self._budget: Budget | None = None

    def __enter__(self) -> SearchView:
        if self._console.is_terminal:
            self._live = Live(self._progress, console=self._console, transient=True, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif error is None and self._best is not None:
            self._line("done")

    def budget(self, budget: Budget) -> None:
        """The budget, before the search and again when its time is known."""
        again = self._budget
        self._budget = budget
        self._progress.update(self._task, total=budget.candidates)
        if again is None:
            self._print(f"budget: {budget.candidates} candidates ({budget.reason})")
        elif budget.candidates != again.candidates:
            self._print(f"budget: now {budget.candidates} candidates ({budget.reason})")
        if budget.seconds is not None:
            self._print(f"a candidate takes {_seconds(budget.seconds / budget.candidates)}: "
                        f"about {_seconds(budget.seconds)} for all of them")  # fmt: skip

    def candidate(self, candidate: Candidate) -> None:
        """A candidate that was evaluated."""
        self._seen += 1
        if self._best is None or candidate.loss < self._best.loss:
            self._best = candidate
        if self._live is not None:
            self._progress.update(
                self._task, advance=1, phase=candidate.phase, current=f"{candidate.loss:.4f}",
                best=f"{self._best.loss:.4f}",
            )  # fmt: skip
            self._live.update(Group(self._progress, self._weights()))
        elif candidate.phase != self._phase or time.monotonic() - self._told > QUIET:
            self._line(candidate.phase)
        self._phase = candidate.phase

    def _weights(self) -> Table:
        assert self._best is not None
        table = Table.grid(padding=(0, 1))
        rows = sorted(zip(self._names, self._best.weights.tolist(), strict=True), key=lambda row: -abs(row[1]))
        longest = max(abs(rows[0][1]), 1e-9)
        for name, weight in rows[:_SHOWN]:
            if weight:
                bar = "█" * max(1, round(_BAR * abs(weight) / longest))
                table.add_row(Text(name), f"{weight:+.2f}", Text(bar, "green" if weight > 0 else "red"))
        return table

    def _line(self, phase: str) -> None:
        total = self._budget.candidates if self._budget else self._seen
        best = f", best loss {self._best.loss:.4f}" if self._best else ""
        self._print(f"{phase}: candidate {self._seen} of at most {total}{best}")

    def _print(self, text: str) -> None:
        self._told = time.monotonic()
        self._console.print(Text(printable(text)), soft_wrap=True)


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
