"""The warnings of a piece of work, which are a part of its answer."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..errors import EdgeLorahubWarning

_MOST = 20
_heard: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def listen() -> None:
    """Makes this package's warnings go to `hearing`, in whatever thread they come; others go on as before.

    `warnings.catch_warnings` would change what other threads hear.
    """
    warnings.simplefilter("always", EdgeLorahubWarning)
    before = warnings.showwarning
    if getattr(before, "hears", False):
        return

    def show(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        heard = _heard.get()
        if heard is None or not issubclass(category, EdgeLorahubWarning):
            before(message, category, *rest, **named)
        elif str(message) not in heard and len(heard) < _MOST:
            heard.append(str(message))

    show.hears = True  # type: ignore[attr-defined]
    warnings.showwarning = show


@contextmanager
def hearing() -> Iterator[list[str]]:
    """The warnings that come in this thread within the block."""
    heard: list[str] = []
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


def log(line: str) -> None:
    """One line for who runs the service."""
    print(line, file=sys.stderr, flush=True)
