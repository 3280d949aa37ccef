"""BLAS on one thread, while ONNX Runtime's threads have the processors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_limits: list[Any] = []
_users = 0


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS's own threads would go on spinning after a product, and take the processors from the sessions.

    The setting is the process's: the first to enter makes it, and the last to leave takes it back.
    """
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _limits.append(_controller().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _limits.pop().restore_original_limits()


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
