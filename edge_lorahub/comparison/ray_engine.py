"""Cells measured by the processes of a Ray cluster, each with a model of its own."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ClusterError, SettingsError, warn
from .cell import Cell
from .freight import Freight, freights_of, pieces
from .ray_cluster import connected, largest_node, places
from .ray_worker import Greeting, Worker
from .result import Result

# A cell whose process was lost so often is not tried again.
_MOST_LOSSES = 3
# How often nodes that came or went are looked for, in seconds.
_LOOK = 2.0
# After so many seconds without any process a line says what is waited for.
_PATIENCE = 60.0


class RayEngine:
    """As many processes as a cluster has room for; see `engine.Engine`."""

    def __init__(self, memory: int, threads: int, most: int | None = None, address: str | None = None) -> None:
        """memory: bytes of a process. threads: processors of one. most: processes, None: as many as fit.

        address: see `ray_cluster.connected`.
        """
        self._memory, self._threads, self._most, self._address = memory, threads, most, address

    def run(self, cells: Sequence[Cell]) -> Generator[tuple[Cell, Result], None, None]:
        freights = freights_of(cells)
        with connected(self._address) as ray:
            running = _Run(ray, cells, freights, self._memory, self._threads, self._most)
            try:
                yield from running.results()
            finally:
                running.end()


@dataclass(eq=False)
class _Member:
    """A worker, what it was asked for last, and who takes the answer. future None: nothing. cell: what it measures."""

    actor: Any
    future: Any
    then: Callable[[_Member, Any], tuple[Cell, Result] | None]
    cell: Cell | None = None
    greeted: bool = False


class _Run:
    """A run's workers and the cells that are left. Workers that are lost are replaced while there is room for them."""

    def __init__(
        self, ray: Any, cells: Sequence[Cell], freights: Sequence[Freight], memory: int, threads: int, most: int | None
    ) -> None:
        self._ray, self._freights, self._most = ray, freights, most
        self._versions = cells[0].versions
        self._size = (threads, memory)
        self._actors = ray.remote(num_cpus=threads, memory=memory, max_restarts=0, max_task_retries=0)(Worker)
        self._waiting = deque(cells)
        self._left = len(cells)
        self._members: list[_Member] = []
        self._losses: Counter[str] = Counter()
        self._failed_starts = 0
        self._sent: dict[str, Mapping[str, list[Any]]] = {}
        self._fetching: set[int] = set()
        self._processors: set[str] = set()

    def results(self) -> Iterator[tuple[Cell, Result]]:
        looked, began, told = -_LOOK, time.monotonic(), False
        while self._left:
            if not self._members or time.monotonic() - looked >= _LOOK:
                self._grow()
                looked = time.monotonic()
            if not told and not self._processors and time.monotonic() - began > _PATIENCE:
                told = True
                warn("the cluster has started no process yet: others hold its processors or memory; waiting")
            busy = {member.future: member for member in self._members if member.future is not None}
            ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=_LOOK)
            for future in ready:
                if (found := self._answered(busy[future])) is not None:
                    self._left -= 1
                    yield found

    def end(self) -> None:
        for member in self._members:
            self._ray.kill(member.actor)

    def _grow(self) -> None:
        """A worker for each place that there is now; those that wait for a place that is gone go."""
        room = places(self._ray, *self._size)
        wanted = min(room, self._left, self._most or room)
        while len(self._members) < wanted:
            actor = self._actors.remote()
            self._members.append(_Member(actor, actor.greet.remote(), self._greeted))
        for member in [one for one in self._members if not one.greeted][: len(self._members) - wanted]:
            self._members.remove(member)
            self._ray.kill(member.actor)
        if not self._members:
            threads, memory = self._size
            raise ClusterError(
                f"the cluster has no room for a process of {threads} processors and about {memory / 1e6:.0f} MB: "
                f"{largest_node(self._ray)}; see `ray status`"
            )

    def _answered(self, member: _Member) -> tuple[Cell, Result] | None:
        try:
            value = self._ray.get(member.future)
        except self._ray.exceptions.RayError as error:
            if _is_python(self._ray, error):
                raise ClusterError(_failed(member, error)) from None
            self._lost(member, error)
            return None
        member.future = None
        return member.then(member, value)

    def _greeted(self, member: _Member, greeting: Greeting) -> None:
        member.greeted = True
        for name, version in self._versions.items():
            if (there := greeting.versions.get(name)) != version:
                raise SettingsError(
                    f"node {greeting.host}: {name} {there} is installed there, and {version} here; install the same "
                    "versions everywhere"
                )
        if self._processors and greeting.processor not in self._processors:
            warn(
                f"node {greeting.host} has another processor ({greeting.processor}) than others "
                f"({', '.join(sorted(self._processors))}): what it measures may differ in the last digits"
            )
        self._processors.add(greeting.processor)
        self._ask(member, member.actor.missing.remote(self._freights), self._looked)

    def _looked(self, member: _Member, missing: Sequence[Freight]) -> None:
        if not missing:
            self._next(member)
            return
        sent = [(freight, self._references(freight)) for freight in missing]
        self._fetching.add(id(member))
        self._ask(member, member.actor.fetch.remote(sent), self._fetched)

    def _fetched(self, member: _Member, error: Exception | None) -> None:
        self._forget(member)
        if error is not None:
            raise error
        self._next(member)

    def _measured(self, member: _Member, found: Result | Exception) -> tuple[Cell, Result]:
        if isinstance(found, Exception):
            raise found
        assert member.cell is not None
        self._failed_starts, cell = 0, member.cell
        self._next(member)
        return cell, found

    def _next(self, member: _Member) -> None:
        """The next cell, which has most in common with those that others measure now; none: the member waits."""
        member.cell = self._waiting.popleft() if self._waiting else None
        if member.cell is not None:
            self._ask(member, member.actor.measure.remote(member.cell), self._measured)

    def _ask(self, member: _Member, future: Any, then: Callable[[_Member, Any], Any]) -> None:
        member.future, member.then = future, then

    def _lost(self, member: _Member, error: Exception) -> None:
        """Its cell is for the next that asks, and a worker in its place for `_grow`."""
        self._members.remove(member)
        self._forget(member)
        self._ray.kill(member.actor)  # that it cannot be reached need not be its end
        reason, cell = _reason(error), member.cell
        if cell is None:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_LOSSES * (len(self._members) + 1):
                raise ClusterError(f"processes of the cluster end before they measure anything: {reason}")
            return
        self._losses[cell.digest] += 1
        if (times := self._losses[cell.digest]) >= _MOST_LOSSES:
            raise ClusterError(
                f"{cell.name}: the process that measured it was lost {times} times, the last time as {reason}; the "
                "same command goes on"
            )
        warn(f"{cell.name}: measured again, as its process was lost ({reason})")
        self._waiting.appendleft(cell)
        if (idle := next((one for one in self._members if one.future is None), None)) is not None:
            self._next(idle)

    def _references(self, freight: Freight) -> Mapping[str, list[Any]]:
        """Ray's, to the pieces of each file; the same for all who ask at the same time."""
        if freight.digest not in self._sent:
            self._sent[freight.digest] = {
                name: [self._ray.put(piece) for piece in pieces(freight.folder / name)] for name in freight.names
            }
        return self._sent[freight.digest]

    def _forget(self, member: _Member) -> None:
        """The last that has fetched what it needs lets the object store have its room again."""
        self._fetching.discard(id(member))
        if not self._fetching:
            self._sent.clear()


def _is_python(ray: Any, error: Exception) -> bool:
    """Whether a method of the worker raised something, as where packages are missing, and Ray itself lost nothing."""
    found = ray.exceptions
    return isinstance(error, found.RayTaskError) and not isinstance(error.cause, found.RayError)


def _failed(member: _Member, error: Any) -> str:
    what = f"{member.cell.name}: " if member.cell is not None else ""
    return (
        f"{what}node {error.ip} cannot run this version of edge-lorahub ({_lines(error)[-1]:.200}); install the same "
        "versions everywhere, in the environment that `ray start` is run in"
    )


def _reason(error: Exception) -> str:
    """What Ray says of a loss, without its surroundings."""
    lines = _lines(error)
    return next((line for line in lines if " because " in line), lines[0]).partition(". ")[0].rstrip(".")[:200]


def _lines(error: Exception) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
