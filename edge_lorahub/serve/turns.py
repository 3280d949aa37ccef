"""Work that blocks, done in threads of its own, so much at once; others wait for their turn, and not for long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from .refusal import Gone, Refusal

TIME_OVER = "time_over"


class Leave:
    """Whether a piece of work may go on: until its client goes away, or its time is over. For several threads."""

    def __init__(self, seconds: float, what: str) -> None:
        """seconds: from when it begins; what: it is called so in messages."""
        self._seconds, self._what = seconds, what
        self._ended = threading.Event()
        self._deadline: float | None = None

    def begin(self) -> None:
        self._deadline = time.monotonic() + self._seconds
        self.check()

    def end(self) -> None:
        """The work ends at its next `check`."""
        self._ended.set()

    def check(self) -> None:
        """Raises Gone after `end`, and Refusal where the time is over."""
        if self._ended.is_set():
            raise Gone
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise Refusal(503, f"{self._what} may take {self._seconds:g} seconds here, and took more", code=TIME_OVER)


class Turn:
    """A piece of work that waits for its turn, is done, or was."""

    def __init__(self, leave: Leave) -> None:
        self.leave = leave
        self._loop = asyncio.get_running_loop()
        self._began, self._done = asyncio.Event(), asyncio.Event()
        self.future: Future[None]

    def began(self) -> None:
        self.post(self._began.set)

    def ended(self) -> None:
        self.post(self._began.set)
        self.post(self._done.set)

    def post(self, callback: Callable[[], object]) -> None:
        """Lets the service's own thread call something soon; for the thread that works."""
        with suppress(RuntimeError):  # the service is ending, and nobody listens
            self._loop.call_soon_threadsafe(callback)

    async def begun(self, seconds: float) -> None:
        """Waits for its begin. Raises Refusal where that does not come within so many seconds."""
        try:
            await asyncio.wait_for(self._began.wait(), seconds)
        except asyncio.TimeoutError:
            if self.future.cancel():
                raise Refusal(503, "too much to do now; try again later", code="busy", retry=30) from None

    async def done(self) -> None:
        """Waits for its end, and raises what it raised."""
        await self._done.wait()
        if self.future.cancelled():
            raise Gone
        self.future.result()

    def end(self) -> None:
        """Lets it end, or not begin."""
        self.leave.end()
        self.future.cancel()


class Turns:
    """Threads for one kind of work."""

    def __init__(self, what: str, at_once: int, waiting: int) -> None:
        self._what, self._at_once, self._most = what, at_once, at_once + waiting
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix=what)
        self._lock = threading.Lock()
        self._turns: set[Turn] = set()
        self._running = 0

    @property
    def running(self) -> int:
        return self._running

    @property
    def waiting(self) -> int:
        return len(self._turns) - self._running

    def start(self, work: Callable[[Turn], None], leave: Leave) -> Turn:
        """Lets work begin when its turn comes. Raises Refusal (429) where too many wait."""
        turn = Turn(leave)
        with self._lock:
            if len(self._turns) >= self._most:
                raise Refusal(429, f"too many {self._what} at once; try again later", code="busy", retry=5)
            self._turns.add(turn)

        def run() -> None:
            with self._lock:
                self._running += 1
            try:
                turn.began()
                leave.begin()
                work(turn)
            finally:
                with self._lock:
                    self._running -= 1

        def left(_: object) -> None:
            with self._lock:
                self._turns.discard(turn)
            turn.ended()

        turn.future = self._pool.submit(run)
        turn.future.add_done_callback(left)
        return turn

    def close(self) -> None:
        """Ends what runs, and waits for that."""
        with self._lock:
            turns = list(self._turns)
        for turn in turns:
            turn.end()
        self._pool.shutdown(wait=True, cancel_futures=True)
