"""What is asked wrongly, or not supported, is refused by its name; nothing that is asked is left out without a word."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]
GENERATE: dict[str, Any] = {"input": "w: red"}
COMPLETION: dict[str, Any] = {"model": "tiny", "prompt": "w: red"}
CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "w: red"}]}
ADAPT: dict[str, Any] = {"examples": [{"input": "a", "output": "b"}]}
PATHS = {"/v1/generate": GENERATE, "/v1/completions": COMPLETION, "/v1/chat/completions": CHAT, "/v1/adapt": ADAPT}

# path, what is changed, the field that the error names
WRONG = [
    ("/v1/generate", {"input": None}, "input"),
    ("/v1/generate", {"input": 3}, "input"),
    ("/v1/generate", {"input": ["a"]}, "input"),
    ("/v1/generate", {"input": "\ud800"}, "input"),
    ("/v1/generate", {"max_tokens": 0}, "max_tokens"),
    ("/v1/generate", {"max_tokens": True}, "max_tokens"),
    ("/v1/generate", {"max_tokens": 1.5}, "max_tokens"),
    ("/v1/generate", {"max_tokens": 10**30}, "max_tokens"),
    ("/v1/generate", {"max_tokens": 513}, "max_tokens"),
    ("/v1/generate", {"temperature": -1}, "temperature"),
    ("/v1/generate", {"temperature": 10**400}, "temperature"),
    ("/v1/generate", {"temperature": "hot"}, "temperature"),
    ("/v1/generate", {"top_p": 0}, "top_p"),
    ("/v1/generate", {"top_k": 0}, "top_k"),
    ("/v1/generate", {"seed": -1}, "seed"),
    ("/v1/generate", {"seed": 2**32}, "seed"),
    ("/v1/generate", {"stop": ""}, "stop[0]"),
    ("/v1/generate", {"stop": ["a", ""]}, "stop[1]"),
    ("/v1/generate", {"stop": ["a"] * 9}, "stop"),
    ("/v1/generate", {"stop": 1}, "stop"),
    ("/v1/generate", {"stream": "yes"}, "stream"),
    ("/v1/generate", {"stream": 1}, "stream"),
    ("/v1/generate", {"temprature": 1}, "temprature"),
    ("/v1/generate", {"system": ""}, "system"),
    ("/v1/generate", {"model": "../../etc"}, "model"),
    ("/v1/generate", {"model": ""}, "model"),
    ("/v1/completions", {"prompt": None}, "prompt"),
    ("/v1/completions", {"prompt": ["a", "b"]}, "prompt"),
    ("/v1/completions", {"prompt": [1, 2]}, "prompt"),
    ("/v1/completions", {"model": None}, "model"),
    ("/v1/completions", {"model": "other"}, "model"),
    *[("/v1/completions", {name: value}, name) for name, value in {
        "n": 2, "best_of": 2, "echo": True, "logprobs": 1, "suffix": "x", "presence_penalty": 0.5,
        "frequency_penalty": 0.5, "logit_bias": {"1": 1}, "top_k": 3,
    }.items()],
    *[("/v1/chat/completions", {name: value}, name) for name, value in {
        "n": 2, "logprobs": True, "top_logprobs": 2, "tools": [{"type": "function"}], "tool_choice": "auto",
        "response_format": {"type": "json_object"}, "functions": [{}], "presence_penalty": 1, "store": True,
        "reasoning_effort": "low", "modalities": ["audio"], "prediction": {}, "temperature": 2.1,
    }.items()],
    ("/v1/chat/completions", {"messages": []}, "messages"),
    ("/v1/chat/completions", {"messages": None}, "messages"),
    ("/v1/chat/completions", {"messages": "hi"}, "messages"),
    ("/v1/chat/completions", {"messages": [{"role": "user"}]}, "messages[0].content"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ("/v1/chat/completions", {"messages": [{"role": "cat", "content": "a"}]}, "messages[0].role"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a", "name": "x"}]}, "messages[0].name"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a", "mood": 1}]}, "messages[0].mood"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
     "messages[0].content[0].type"),
    ("/v1/chat/completions", {"messages": [{"role": "assistant", "content": "a"}]}, "messages"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}] * 2}, "messages"),
    ("/v1/chat/completions", {"stream_options": {"more": 1}}, "stream_options.more"),
    ("/v1/chat/completions", {"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ("/v1/adapt", {"examples": []}, "examples"),
    ("/v1/adapt", {"examples": None}, "examples"),
    ("/v1/adapt", {"examples": {"input": "a"}}, "examples"),
    ("/v1/adapt", {"examples": [["a", "b"]]}, "examples"),
    ("/v1/adapt", {"examples": [{"input": "a"}]}, "examples[0].output"),
    ("/v1/adapt", {"examples": [{"input": "a", "output": 1}]}, "examples[0].output"),
    ("/v1/adapt", {"examples": [{"input": "a", "output": "b", "note": "c"}]}, "examples[0].note"),
    ("/v1/adapt", {"examples": [{"input": "a", "output": "b"}] * 65}, "examples"),
    ("/v1/adapt", {"budget": 0}, "budget"),
    ("/v1/adapt", {"budget": 1001}, "budget"),
    ("/v1/adapt", {"budget": "much"}, "budget"),
    ("/v1/adapt", {"optimizer": "nevergrad:CMA"}, "optimizer"),
    ("/v1/adapt", {"optimizer": ["cma"]}, "optimizer"),
    ("/v1/adapt", {"composition": "none"}, "composition"),
    ("/v1/adapt", {"name": "../x"}, "name"),
    ("/v1/adapt", {"name": "tiny"}, "name"),
    ("/v1/adapt", {"holdout": 1}, "holdout"),
]  # fmt: skip


@pytest.fixture
def ask(client: Make) -> Any:
    return client()


@pytest.mark.parametrize(("path", "change", "param"), WRONG)
def test_wrong_fields_are_named(ask: Any, path: str, change: dict[str, Any], param: str) -> None:
    response = ask.post(path, content=json.dumps(PATHS[path] | change), headers={"content-type": "application/json"})
    error = response.json()["error"]
    assert response.status_code in (400, 404, 409), error
    assert error["param"] == param, error
    assert len(error["message"]) < 500
    assert "\n" not in error["message"]


# Bodies that are no object of JSON's, or not the same object to every reader.
BODIES = [
    b"", b"{", b"[]", b"null", b"3", b'"a"', b"\xff\xfe", b"\xef\xbb\xbf{}", b'{"input": NaN}', b'{"input": Infinity}',
    b'{"input": "a", "input": "b"}', b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10_000, b"[" + b"[]," * 300_000 + b"[]]",
    b'{"input": ' + b"9" * 5000 + b"}", b'{"input": "a"} x',
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_bodies_that_are_no_json_are_refused(ask: Any, body: bytes) -> None:
    response = ask.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text


def test_a_body_must_say_that_it_is_json(ask: Any) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"):
        response = ask.post("/v1/generate", content=json.dumps(GENERATE), headers={"content-type": kind})
        assert response.status_code == 415
    response = ask.post(
        "/v1/generate", content=json.dumps(GENERATE), headers={"content-type": "Application/JSON; charset=utf-8"}
    )
    assert response.status_code == 200


def test_a_body_that_is_too_large_is_refused(client: Make) -> None:
    ask = client(body=1000)
    assert ask.post("/v1/generate", json={"input": "a" * 900}).status_code == 200
    assert ask.post("/v1/generate", json={"input": "a" * 1000}).status_code == 413
    # in pieces, of which no length is said
    pieces = (b'{"input": "a"' + b" " * 400 for _ in range(5))
    response = ask.post("/v1/generate", content=pieces, headers={"content-type": "application/json"})
    assert response.status_code == 413


def test_texts_that_are_too_long_are_refused_and_not_cut(client: Make, ask: Any) -> None:
    long = client(input_tokens=20, example_tokens=20)
    text = " ".join(["red"] * 30)
    response = long.post("/v1/generate", json={"input": text})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")
    response = long.post("/v1/generate", json={"input": text, "stream": True})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")
    for example, what in (({"input": text, "output": "b"}, "input"), ({"input": "a", "output": text}, "output")):
        events = long.post("/v1/adapt", json={"examples": [example], "stream": True}).text
        assert "event: failed" in events
        assert f"examples[0].{what}: more than 20 tokens" in events
    few = client(task_tokens=20)
    assert (
        "20 are the most"
        in few.post("/v1/adapt", json=ADAPT | {"examples": ADAPT["examples"] * 9, "stream": True}).text
    )


def test_fields_without_effect_are_warned_of(ask: Any) -> None:
    found = ask.post("/v1/chat/completions", json=CHAT | {"user": "me", "metadata": {"a": "b"}}).json()
    assert found["warnings"] == ["user: has no effect here", "metadata: has no effect here"]


def test_values_that_ask_for_nothing_pass(ask: Any) -> None:
    nothing = {
        "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "logprobs": False, "tools": [],
        "response_format": {"type": "text"}, "stop": None, "stream": False, "temperature": None, "tool_choice": "none",
    }  # fmt: skip
    assert ask.post("/v1/chat/completions", json=CHAT | nothing).json()["choices"] == ask.post(
        "/v1/chat/completions", json=CHAT).json()["choices"]  # fmt: skip


def test_a_system_text_needs_a_place(ask: Any) -> None:
    """This model's prompt has none, so it would be left out."""
    messages = [{"role": "system", "content": "Be brief."}, *CHAT["messages"]]
    response = ask.post("/v1/chat/completions", json=CHAT | {"messages": messages})
    assert response.status_code == 400
    assert "no place for a system text" in response.json()["error"]["message"]


def test_paths_and_methods_that_are_none(ask: Any) -> None:
    assert ask.get("/nowhere").status_code == 404
    assert ask.get("/v1/adapters/..%2f..%2fetc").status_code == 404
    assert ask.get("/v1/adapters/none").status_code == 404
    assert ask.get("/v1/adapt/adaptation-9").status_code == 404
    for response in (ask.put("/v1/generate", json={}), ask.delete("/v1/models")):
        assert response.status_code == 405
        assert "error" in response.json()


def test_the_description_is_one_of_openapi() -> None:
    """Every path is described and every reference leads somewhere; answers are compared in all tests of this room."""
    from edge_lorahub.serve.app import _ROUTES
    from edge_lorahub.serve.web_page import description

    whole = description()
    described = {(path, method.upper()) for path, methods in whole["paths"].items() for method in methods}
    assert described == {(path, method) for path, _, methods in _ROUTES for method in methods}
    text = json.dumps(whole)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "')[1:]}:
        found: Any = whole
        for key in reference.removeprefix("#/").split("/"):
            found = found[key]
    ids = [one["operationId"] for methods in whole["paths"].values() for one in methods.values()]
    assert len(ids) == len(set(ids))


def test_the_described_fields_are_those_that_are_read() -> None:
    """A request with every field of its schema is refused for no unknown one, and the schema has no other."""
    from edge_lorahub.serve.fields import Fields
    from edge_lorahub.serve.limits import Limits
    from edge_lorahub.serve.questions import chat, completion, generation
    from edge_lorahub.serve.tasks_asked import task_of
    from edge_lorahub.serve.web_page import description

    readers: dict[str, Callable[[Fields], object]] = {
        "GenerateRequest": lambda fields: generation(fields, "tiny", Limits()),
        "CompletionRequest": lambda fields: completion(fields, Limits()),
        "ChatRequest": lambda fields: chat(fields, Limits()),
        "AdaptRequest": lambda fields: task_of(fields, Limits()),
    }
    for (name, read), body in zip(readers.items(), PATHS.values(), strict=True):
        fields = Fields(body)
        read(fields)
        assert fields._taken == set(description()["components"]["schemas"][name]["properties"]), name


def test_the_described_bounds_of_an_adaptation_are_those_that_are_kept() -> None:
    from edge_lorahub.serve.fields import Fields
    from edge_lorahub.serve.limits import Limits
    from edge_lorahub.serve.refusal import Refusal
    from edge_lorahub.serve.tasks_asked import task_of
    from edge_lorahub.serve.web_page import description

    fields = description()["components"]["schemas"]["AdaptRequest"]["properties"]
    assert fields["budget"]["oneOf"][0]["maximum"] == Limits().budget
    assert fields["examples"]["maxItems"] == Limits().examples
    with pytest.raises(Refusal, match="budget: must be a whole number from 1 to 1000, or auto, got 'many'"):
        task_of(Fields({"examples": [{"input": "a", "output": "b"}], "budget": "many"}), Limits())
