"""The service on a port: what a connection may take, and the end of it all."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from .limits import Limits

# Seconds for which requests may go on when the service is told to end, and in which an idle connection is kept.
_GRACE, _KEEP_ALIVE = 3, 5
# What to do where a socket cannot listen.
_ADVICE = {
    errno.EADDRINUSE: "; choose another --port, or 0 for any that is free",
    errno.EACCES: "; choose a --port from 1024, or 0 for any that is free",
    errno.EADDRNOTAVAIL: "; choose a --host that is an address of this machine",
}
_NO_NAME = "; choose a --host that is a name or address of this machine"


class PatientProtocol(H11Protocol):
    """Ends a connection whose client neither sends a request nor takes its answer; uvicorn itself would wait.

    https://en.wikipedia.org/wiki/Slowloris_(cyber_attack)
    """

    patience = Limits.client_seconds

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        """Now and then. A body that does not come is refused by who reads it."""
        now = self.loop.time()
        works = self.cycle is not None and not self.cycle.response_complete
        if works and not self.flow.write_paused:
            self._since = now
        elif now - self._since > self.patience:
            self.transport.abort()
            return
        self._timer = self.loop.call_later(self.patience / 8, self._look)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises OSError, with the place in it."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, proto)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(128)
        except OSError:
            found.close()
            raise
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, _NO_NAME if isinstance(error, socket.gaierror) else "")
        raise OSError(error.errno, f"{error.strerror}{advice}", f"{host}:{port}") from error
    return found


def server(app: Starlette, limits: Limits) -> uvicorn.Server:
    """To be run on a socket of `listening`."""
    protocol = type("Protocol", (PatientProtocol,), {"patience": limits.client_seconds})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)
