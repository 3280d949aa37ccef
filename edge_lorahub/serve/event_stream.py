"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

# Seconds of silence after which a comment shows that the service is there, and that the client is.
_SILENCE = 10.0


def event(data: Any, kind: str | None = None, number: int | None = None) -> str:
    """One event. JSON is written on one line, so that no text of a user's can end it."""
    head = ("" if number is None else f"id: {number}\n") + ("" if kind is None else f"event: {kind}\n")
    return f"{head}data: {json.dumps(data, ensure_ascii=True)}\n\n"


class EventStream(StreamingResponse):
    """Events as they come. Whatever becomes of the client, and of an event that never came, `ended` is called."""

    def __init__(
        self, events: AsyncGenerator[str, None], ended: Callable[[], Awaitable[None]], silence: float = _SILENCE
    ) -> None:
        super().__init__(
            _with_signs(events, silence), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._ended()


async def _with_signs(events: AsyncGenerator[str, None], silence: float) -> AsyncGenerator[str, None]:
    """The events, and a comment where none comes for long."""
    task: asyncio.Future[str] | None = None
    try:
        while True:
            task = asyncio.ensure_future(events.__anext__())
            while not (await asyncio.wait({task}, timeout=silence))[0]:
                yield ": still there\n\n"
            try:
                yield task.result()
            except StopAsyncIteration:
                return
    finally:
        if task is not None and not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await task
        await events.aclose()
