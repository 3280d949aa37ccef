"""The routes of adaptations and adapters: /v1/adapt, /v1/adapters, /v1/models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .adaptations import Job
from .bodies import json_fields
from .event_stream import EventStream, event
from .refusal import Refusal
from .service import Service
from .shelf import Held
from .tasks_asked import task_of


async def adapt(request: Request) -> Response:
    service: Service = request.app.state.service
    fields = await json_fields(request, service.limits)
    task, streamed = task_of(fields, service.limits)
    job = service.adaptations.start(task)

    async def ended() -> None:
        """It is for this client, who may have gone away."""
        service.adaptations.cancel(job)

    if streamed:
        return EventStream(_events(job, 0), ended)
    return JSONResponse(job.record, 202, {"Location": f"/v1/adapt/{job.id}"})


async def adaptations(request: Request) -> Response:
    service: Service = request.app.state.service
    return JSONResponse({"object": "list", "data": [job.record for job in service.adaptations.jobs()]})


async def adaptation(request: Request) -> Response:
    service: Service = request.app.state.service
    job = service.adaptations.get(request.path_params["job"])
    if request.method == "DELETE":
        service.adaptations.cancel(job)
    return JSONResponse(job.record)


async def adaptation_events(request: Request) -> Response:
    """From the first event, or behind the one that a client has seen last; who goes away ends nothing."""
    service: Service = request.app.state.service
    job = service.adaptations.get(request.path_params["job"])
    seen = request.headers.get("last-event-id", "0")
    if not (seen.isdecimal() and seen.isascii() and len(seen) < 10):
        raise Refusal(400, "last-event-id: must be the number of an event")
    return EventStream(_events(job, int(seen)), _nothing)


async def adapters(request: Request) -> Response:
    service: Service = request.app.state.service
    names = await asyncio.to_thread(service.shelf.names)
    data = [{"name": name, "held": held, "saved": saved} for name, (held, saved) in names.items()]
    return JSONResponse({"object": "list", "data": data, "keeps": service.shelf.keeps})


async def adapter(request: Request) -> Response:
    service: Service = request.app.state.service
    name = request.path_params["name"]
    if request.method == "DELETE":
        await asyncio.to_thread(service.shelf.remove, name)
        return JSONResponse({"name": name, "deleted": True})
    if request.method == "PUT":
        fields = await json_fields(request, service.limits)
        source = fields.text("from", name, least=1, most=200) or name
        fields.done()
        await asyncio.to_thread(service.shelf.save, name, source)
    held = await asyncio.to_thread(service.shelf.get, name)
    names = await asyncio.to_thread(service.shelf.names)
    _, saved = names.get(name, (True, False))
    return JSONResponse(_adapter(name, held, saved=saved), 201 if request.method == "PUT" else 200)


async def models(request: Request) -> Response:
    service: Service = request.app.state.service
    names = await asyncio.to_thread(service.shelf.names)
    data = [
        {"id": name, "object": "model", "created": 0, "owned_by": "edge-lorahub"} for name in (service.name, *names)
    ]
    return JSONResponse({"object": "list", "data": data})


async def _nothing() -> None:
    """Of a job that others may watch."""


async def _events(job: Job, after: int) -> AsyncGenerator[str, None]:
    if after == 0:
        yield event(job.record, "job", 0)
    async for number, kind, data in job.follow(after):
        yield event(data, kind, number)


def _adapter(name: str, held: Held, *, saved: bool) -> dict[str, Any]:
    record = held.adapter.record
    found: dict[str, Any] = {
        "name": name, "saved": saved, "bytes": held.size, "base_model": held.adapter.base_model, "learned": None,
    }  # fmt: skip
    if record is not None:
        found["learned"] = {
            "loss_before": record.loss.before,
            "loss_after": record.loss.after,
            "examples": record.examples.count,
            "candidates": len(record.trace),
            "optimizer": record.optimizer,
            "composition": record.settings.composition,
            "weights": dict(record.weights),
        }
    return found
