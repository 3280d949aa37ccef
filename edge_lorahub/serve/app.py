"""The application: which route is answered by what, and what an error becomes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from . import adapt_routes, answer_routes
from .counts import TYPE
from .guard import Access, Guard
from .refusal import Gone, Refusal, log_defect, refusal_of
from .service import Service
from .web_page import description, page, page_policy

Handler = Callable[[Request], Awaitable[Response]]
# What nobody gets who has gone away; nginx logs the same.
_NOBODY = 499


def application(service: Service, access: Access) -> Starlette:
    """The service behind its guard."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    routes = [Route(path, _counted(service, path, handler), methods=methods) for path, handler, methods in _ROUTES]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={HTTPException: _no_route},
        lifespan=lifespan,
    )
    app.state.service = service
    return app


def _counted(service: Service, path: str, handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            response = await handler(request)
        except Gone:
            response = Response(status_code=_NOBODY)
        except Exception as error:  # noqa: BLE001  # every one of them is an answer
            refusal = refusal_of(error)
            log_defect(refusal, error)
            response = _refused(refusal)
        service.counts.requests[path, response.status_code] += 1
        return response

    return answer


def _refused(refusal: Refusal) -> JSONResponse:
    return JSONResponse(refusal.record, refusal.status, refusal.headers)


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = "no such path here; /openapi.json has all of them" if status == 404 else "not done with this path"
    response = _refused(Refusal(status, f"{request.method} {request.url.path!a:.80}: {what}"))
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)
    return response


async def _page(request: Request) -> Response:
    return HTMLResponse(page(), headers={"Content-Security-Policy": page_policy(), "Cache-Control": "no-cache"})


async def _description(request: Request) -> Response:
    return JSONResponse(description())


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _metrics(request: Request) -> Response:
    service: Service = request.app.state.service
    text = await asyncio.to_thread(service.metrics)
    return PlainTextResponse(text, media_type=TYPE)


_ROUTES: tuple[tuple[str, Handler, list[str]], ...] = (
    ("/", _page, ["GET"]),
    ("/healthz", _health, ["GET"]),
    ("/metrics", _metrics, ["GET"]),
    ("/openapi.json", _description, ["GET"]),
    ("/v1/models", adapt_routes.models, ["GET"]),
    ("/v1/generate", answer_routes.generate, ["POST"]),
    ("/v1/completions", answer_routes.completions, ["POST"]),
    ("/v1/chat/completions", answer_routes.chat_completions, ["POST"]),
    ("/v1/adapt", adapt_routes.adapt, ["POST"]),
    ("/v1/adapt", adapt_routes.adaptations, ["GET"]),
    ("/v1/adapt/{job}", adapt_routes.adaptation, ["GET", "DELETE"]),
    ("/v1/adapt/{job}/events", adapt_routes.adaptation_events, ["GET"]),
    ("/v1/adapters", adapt_routes.adapters, ["GET"]),
    ("/v1/adapters/{name}", adapt_routes.adapter, ["GET", "PUT", "DELETE"]),
)
