"""Work spread over several workers, with the results in the order of the work."""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Generic, TypeVar

W = TypeVar("W")
U = TypeVar("U")
R = TypeVar("R")


class Workers(Generic[W]):
    """Workers of which each serves one thread at a time."""

    def __init__(self, workers: Sequence[W]) -> None:
        self._workers = list(workers)

    def __len__(self) -> int:
        return len(self._workers)

    def each(self, work: Callable[[W, U], R], units: Sequence[U]) -> Iterator[R]:
        """work(worker, unit) for every unit, by whichever worker is free; the results in the units' order."""
        if len(self._workers) == 1 or len(units) == 1:
            yield from (work(self._workers[0], unit) for unit in units)
            return
        free: queue.SimpleQueue[W] = queue.SimpleQueue()
        for worker in self._workers:
            free.put(worker)

        def run(unit: U) -> R:
            worker = free.get()
            try:
                return work(worker, unit)
            finally:
                free.put(worker)

        # an error or an interrupt ends the generator, and with it the units that no worker has begun
        with ThreadPoolExecutor(len(self._workers)) as pool:
            yield from pool.map(run, units)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A process that is started in the block gets no interrupt from the terminal, and prints nothing of it.

    Who started it has to end it. An interrupt of this process comes after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # the first process that is spawned would start it, and with it unblock the signal
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
