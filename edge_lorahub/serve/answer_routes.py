"""The routes that answer: /v1/generate, /v1/completions, /v1/chat/completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .answerer import Begun, Ended, Part
from .bodies import json_fields
from .event_stream import EventStream, event
from .feed import attended
from .openai_forms import Form, reason_of, usage_of
from .questions import Asked, chat, completion, generation
from .refusal import Refusal, log_defect, refusal_of
from .service import Service


async def generate(request: Request) -> Response:
    service: Service = request.app.state.service
    asked = generation(await json_fields(request, service.limits), service.name, service.limits)
    parts = service.parts(asked)
    if asked.stream:
        await _begun(request, parts)
        return EventStream(_generate_events(parts, asked), parts.aclose)
    text, ended = await attended(request, _whole(parts))
    return JSONResponse({"model": asked.question.model, "output": text} | _end_of(ended))


async def completions(request: Request) -> Response:
    service: Service = request.app.state.service
    asked = completion(await json_fields(request, service.limits), service.limits)
    return await _openai(request, service, asked, is_chat=False)


async def chat_completions(request: Request) -> Response:
    service: Service = request.app.state.service
    asked = chat(await json_fields(request, service.limits), service.limits)
    return await _openai(request, service, asked, is_chat=True)


async def _openai(request: Request, service: Service, asked: Asked, *, is_chat: bool) -> Response:
    form = Form(asked, is_chat=is_chat)
    parts = service.parts(asked)
    if asked.stream:
        await _begun(request, parts)
        return EventStream(_openai_events(parts, form), parts.aclose)
    return JSONResponse(form.whole(*await attended(request, _whole(parts))))


async def _begun(request: Request, parts: AsyncGenerator[Part, None]) -> None:
    """Waits for the first part: what is wrong with a request comes before it, and is an answer with a status."""
    first = await attended(request, anext_of(parts))
    if not isinstance(first, Begun):
        raise TypeError(f"an answer that begins with {first!r:.80}")


async def anext_of(parts: AsyncGenerator[Part, None]) -> Part:
    """A coroutine, which a task can be made of."""
    return await parts.__anext__()


async def _whole(parts: AsyncGenerator[Part, None]) -> tuple[str, Ended]:
    text: list[str] = []
    async for part in parts:
        if isinstance(part, str):
            text.append(part)
        elif isinstance(part, Ended):
            return "".join(text), part
    raise TypeError("an answer without an end")


async def _generate_events(parts: AsyncGenerator[Part, None], asked: Asked) -> AsyncGenerator[str, None]:
    try:
        async for part in parts:
            if isinstance(part, str) and part:
                yield event({"text": part}, "text")
            elif isinstance(part, Ended):
                yield event({"model": asked.question.model} | _end_of(part), "done")
    except Exception as error:  # noqa: BLE001  # the status is sent already
        yield event(_told(error).record, "error")


async def _openai_events(parts: AsyncGenerator[Part, None], form: Form) -> AsyncGenerator[str, None]:
    try:
        for record in form.first():
            yield event(record)
        async for part in parts:
            if isinstance(part, str) and part:
                yield event(form.piece(part))
            elif isinstance(part, Ended):
                for record in form.last(part):
                    yield event(record)
        yield "data: [DONE]\n\n"
    except Exception as error:  # noqa: BLE001  # the status is sent already
        yield event(_told(error).record)


def _told(error: Exception) -> Refusal:
    refusal = refusal_of(error)
    log_defect(refusal, error)
    return refusal


def _end_of(ended: Ended) -> dict[str, object]:
    return {"finish_reason": reason_of(ended), "usage": usage_of(ended), "warnings": list(ended.warnings)}
