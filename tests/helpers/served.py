"""A service in this process on a port of its own, and its answers compared with its description."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jsonschema

from edge_lorahub.serve.app import application
from edge_lorahub.serve.guard import Access
from edge_lorahub.serve.server import listening, server
from edge_lorahub.serve.service import Service
from edge_lorahub.serve.web_page import description

LOOPBACK = "127.0.0.1"


@contextmanager
def served(service: Service, token: str | None = None) -> Iterator[int]:
    """The port of a service that runs in a thread; in the end it is closed, and all its work with it."""
    with listening(LOOPBACK, 0) as place:
        running = server(application(service, Access(LOOPBACK, token)), service.limits)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            yield place.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def check_schema(name: str, value: Any) -> None:
    """Compares with a schema of the description."""
    whole = description()
    schema = {"$ref": f"#/components/schemas/{name}", "components": whole["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def check_answer(method: str, path: str, status: int, kind: str, text: str) -> None:
    """Compares an answer with what the description says of its path, method and status."""
    whole = description()
    templates = [one for one in whole["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", one), path)]
    if not templates:
        assert status in (403, 404), path
        return
    methods = whole["paths"][templates[0]]
    if method.lower() not in methods:
        assert status in (403, 405), (method, path, status)  # the guard stands before the routes
        return
    answers = methods[method.lower()]["responses"]
    assert str(status) in answers, f"{method} {path}: {status} is not described: {text:.200}"
    answer = answers[str(status)]
    if "$ref" in answer:
        answer = whole["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    media = kind.partition(";")[0]
    assert media in answer["content"], (path, status, media)
    schema = answer["content"][media]["schema"]
    if media == "application/json":
        jsonschema.Draft202012Validator({**schema, "components": whole["components"]}).validate(json.loads(text))


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a stream as kinds and data; [DONE] as it is."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in lines:
            data = lines["data"]
            found.append((lines.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found
