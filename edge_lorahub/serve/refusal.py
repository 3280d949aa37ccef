"""What a request is refused with: a status, and the error as OpenAI's clients read it."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import EdgeLorahubError, NotEnoughMemoryError, OutputExistsError, OutputFailedError, StoreError

_LOG = logging.getLogger(__name__)
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refusal(Exception):  # noqa: N818  # most are no errors of the service
    """A request that is not done.

    param: the field that is the reason; code: a word for programs; retry: seconds after which to try again.
    """

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None, retry: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry = status, message, param, code, retry

    @property
    def record(self) -> dict[str, Any]:
        """The body of the answer."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        found = {} if self.retry is None else {"Retry-After": str(self.retry)}
        if self.status == 401:
            found["WWW-Authenticate"] = "Bearer"
        return found


class Gone(Exception):  # noqa: N818
    """The client has gone away, or has cancelled: there is nobody to answer."""


def refusal_of(error: Exception) -> Refusal:
    """What an error of the work is to a client. One that nobody raised on purpose says nothing of the inside."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Gone):
        return Refusal(503, "ended before it was done", code="ended")
    if isinstance(error, OutputExistsError):
        return Refusal(409, str(error), code="exists")
    if isinstance(error, (NotEnoughMemoryError, OutputFailedError, StoreError)):
        return Refusal(503, str(error), code="no_room")
    if isinstance(error, EdgeLorahubError):
        return Refusal(400, str(error))
    return Refusal(500, f"a defect of the service ({type(error).__name__}); its log has more", code="defect")


def log_defect(refusal: Refusal, error: BaseException) -> None:
    """Tells who runs the service what a client is not told."""
    if refusal.code == "defect":
        _LOG.error("a defect in edge-lorahub", exc_info=error)
