"""Who may ask: the token, the name that the service was called by, and no pages of other sites."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import SettingsError
from .refusal import Refusal

_LEAST_TOKEN = 16
# The page asks for a token itself, and a probe of health has none.
_OPEN = ("/", "/healthz")
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"x-frame-options": b"DENY",
}


@dataclass(frozen=True)
class Access:
    """host: where the service listens; token: None on loopback alone. Checks itself.

    names: by which it may be called, beside those of loopback and the host; empty, on an address of all interfaces:
    by any, which the token makes harmless.
    """

    host: str
    token: str | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.token is not None and (len(self.token) < _LEAST_TOKEN or not self.token.isascii()):
            raise SettingsError(f"a token must be {_LEAST_TOKEN} or more characters, all of ASCII")
        if self.token is None and not is_loopback(self.host):
            raise SettingsError(
                f"host {self.host}: other machines can reach it, so a token is needed; give --token, or "
                "EDGE_LORAHUB_TOKEN"
            )

        for name in self.names:
            if _name_of(f"[{name}]" if ":" in name else name) != name.lower():
                raise SettingsError(
                    f"{name!r:.80} is no name of a machine; leave out a port, and what is before the name"
                )

    def is_called(self, host: str) -> bool:
        """Whether this is a name of the service, without its port: a page elsewhere could have a name that leads here.

        https://en.wikipedia.org/wiki/DNS_rebinding
        """
        name = _name_of(host)
        if name is None:
            return False
        if _is_every(self.host) and not self.names:
            return True
        known = {one.lower() for one in (*self.names, self.host)}
        if is_loopback(self.host):
            known |= {"localhost", "127.0.0.1", "::1"}
        return name in known

    def is_given(self, authorization: str) -> bool:
        """Whether a request has the token, where one is needed."""
        if self.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.token.encode())
        return same and scheme.lower() == "bearer"


class Guard:
    """Lets through what may pass, and gives every answer its headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS.items()]}
            await send(message)

        refusal = self._refusal(Headers(scope=scope), scope["path"])
        if refusal is None:
            await self._app(scope, receive, with_headers)
        else:
            response = JSONResponse(refusal.record, refusal.status, refusal.headers)
            await response(scope, receive, with_headers)

    def _refusal(self, headers: Headers, path: str) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.is_called(hosts[0]):
            return Refusal(403, "host: not a name of this service; --allow-host NAME adds one", code="host")
        origins = headers.getlist("origin")
        same = all(urlsplit(origin).netloc.lower() == hosts[0].lower() for origin in origins)
        # a browser says where a request comes from, whatever its page wants; a link to the page itself is harmless
        elsewhere = headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
        if not same or (elsewhere and path != "/"):
            return Refusal(403, "origin: pages of other sites may not ask this service", code="origin")
        if path not in _OPEN and not self._access.is_given(headers.get("authorization", "")):
            return Refusal(401, "authorization: needs the token that the service was started with, as Bearer")
        return None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_every(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _name_of(host: str) -> str | None:
    """The name or address in a Host header."""
    try:
        found = urlsplit(f"//{host}")
        _ = found.port
    except ValueError:
        return None
    plain = found.username is None and not found.path and not found.query and not found.fragment
    return found.hostname if plain else None
