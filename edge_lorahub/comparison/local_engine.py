"""Cells measured by processes of this machine, each with a model of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection, wait
from typing import cast

from ..errors import NotEnoughMemoryError
from ..runtime.pool import uninterrupted
from .cell import Cell
from .outcome import outcome
from .result import Result

# A process that is told to end has so many seconds before it is killed.
_PATIENCE = 5.0


class LocalEngine:
    """So many processes; see `engine.Engine`."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, Result], None, None]:
        waiting = deque(cells)
        workers: list[_Worker] = []
        try:
            for _ in range(min(self._jobs, len(cells))):
                workers.append(_Worker())
                workers[-1].begin(waiting.popleft())
            busy = {worker.connection: worker for worker in workers}
            while busy:
                for ready in wait(list(busy)):
                    worker = busy[cast("Connection", ready)]
                    done = worker.cell
                    result = worker.result()
                    if waiting:
                        worker.begin(waiting.popleft())
                    else:
                        del busy[worker.connection]
                    yield done, result
        finally:
            for worker in workers:
                worker.end()


class _Worker:
    """A process that measures one cell after the other."""

    cell: Cell

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        with uninterrupted():
            self._process.start()
        other.close()  # so that the end of the process is the end of what comes from it

    def begin(self, cell: Cell) -> None:
        self.cell = cell
        with contextlib.suppress(BrokenPipeError):  # `result` tells
            self.connection.send(cell)

    def result(self) -> Result:
        """Of the cell that was begun. Raises what measuring it raised."""
        try:
            found = self.connection.recv()
        except (EOFError, ConnectionError):
            self._process.join(_PATIENCE)
            code = self._process.exitcode
            raise NotEnoughMemoryError(
                f"{self.cell.name}: its process was ended from outside (exit code {code}), as the system does where "
                "memory is short; the same command goes on, try fewer --jobs"
            ) from None
        if isinstance(found, BaseException):
            raise found
        return cast(Result, found)

    def end(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: Connection) -> None:
    """Measures the cells that come, until no more do; in a process of its own."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # SciPy warns of every Cobyla that is asked for less than it wants, and processes' warnings interleave
    warnings.simplefilter("ignore")
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            cell: Cell = connection.recv()
            connection.send(outcome(cell))


def _end_with_parent() -> None:
    """A parent that was killed tells nobody, and the cell that is measured is for nothing."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
