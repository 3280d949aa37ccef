"""What a piece of work gives while it runs, for the one client that asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

from starlette.requests import Request

from .refusal import Gone
from .turns import Leave, Turn, Turns

T = TypeVar("T")
_END = object()


class Feed:
    """Items of a piece of work, as they come. When it is closed, the work ends at its next item."""

    def __init__(
        self, turns: Turns, leave: Leave, work: Callable[[Callable[[Any], None]], None], wait_seconds: float
    ) -> None:
        """work gets what to give its items to. Raises Refusal (429)."""
        self._items: asyncio.Queue[Any] = asyncio.Queue()
        self._wait_seconds = wait_seconds

        def run(turn: Turn) -> None:
            def give(item: Any) -> None:
                turn.leave.check()
                turn.post(lambda: self._items.put_nowait(item))

            work(give)

        self._turn = turns.start(run, leave)
        # also where the work never begins
        self._turn.future.add_done_callback(lambda _: self._turn.post(lambda: self._items.put_nowait(_END)))

    async def items(self) -> AsyncGenerator[Any, None]:
        """Raises Refusal where its turn does not come, and what the work raises."""
        try:
            await self._turn.begun(self._wait_seconds)
            while (item := await self._items.get()) is not _END:
                yield item
            await self._turn.done()
        finally:
            self.close()

    def close(self) -> None:
        self._turn.end()


async def attended(request: Request, work: Awaitable[T]) -> T:
    """The work's result, if the client waits for it. Raises Gone, and ends the work, where the client goes away."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Gone
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
