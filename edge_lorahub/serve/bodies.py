"""The body of a request: read within its bounds of size and time, and parsed as strict JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from ..files.reading import check_values
from .fields import Fields
from .limits import Limits
from .refusal import Gone, Refusal


async def json_fields(request: Request, limits: Limits) -> Fields:
    """The JSON object that a request has. Raises Refusal (400, 408, 413, 415), or Gone."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # a page of another site can send forms and plain text without being asked, but no JSON
        raise Refusal(415, "content-type: must be application/json")
    try:
        data = await asyncio.wait_for(_read(request, limits.body), limits.client_seconds)
    except asyncio.TimeoutError:
        raise Refusal(408, f"the body did not come within {limits.client_seconds:g} seconds") from None
    return Fields(parsed(data))


async def _read(request: Request, most: int) -> bytes:
    message = f"the body is larger than {most} bytes"
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said[:20]) > most:
        raise Refusal(413, message)
    data = bytearray()
    try:
        async for piece in request.stream():
            data += piece
            if len(data) > most:
                raise Refusal(413, message)
    except ClientDisconnect:
        raise Gone from None
    return bytes(data)


def parsed(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises Refusal for anything else, and for what JSON readers understand in different ways."""
    try:
        text = data.decode("utf-8")
        check_values(text)
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else f"{error}"
        raise Refusal(400, f"the body is not valid JSON ({reason:.200})") from None
    if not isinstance(value, dict):
        raise Refusal(400, "the body must be a JSON object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON's")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same key twice")
    return found
