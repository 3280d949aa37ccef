"""Answers over HTTP are those of `generate`, and their counts are true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from waiting import until

import edge_lorahub as el
from edge_lorahub.runtime.answers import greedy
from edge_lorahub.runtime.generation import runner_for

TEXTS = ["just kindly maybe so then thanks : ruby moon wheel crab", "w: red", "", "täglich \u2603 \N{GRINNING FACE}"]
Make = Callable[..., Any]


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **more}


@pytest.mark.parametrize("text", TEXTS)
def test_all_three_give_the_answer_of_generate(client: Make, tiny_model: el.Model, text: str) -> None:
    (wanted,) = el.generate(tiny_model, [text], max_new_tokens=64)
    ask = client()
    found = ask.post("/v1/generate", json={"input": text}).json()
    assert found["output"] == wanted
    completed = ask.post("/v1/completions", json={"model": "tiny", "prompt": text, "max_tokens": 64}).json()
    assert completed["choices"][0]["text"] == wanted
    talked = ask.post("/v1/chat/completions", json=chat(text, max_tokens=64)).json()
    assert talked["choices"][0]["message"]["content"] == wanted
    assert found["usage"] == completed["usage"] == talked["usage"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("most", [1, 3, 64])
def test_usage_counts_the_tokens(client: Make, tiny_model: el.Model, text: str, most: int) -> None:
    """Counted apart, from token ids: the model's end token is one of those that it wrote."""
    (row,) = tiny_model.bundle.sources([text], 2048)
    (answer,) = greedy(runner_for(tiny_model, None), [row], most)
    found = client().post("/v1/generate", json={"input": text, "max_tokens": most}).json()
    ended = len(answer) < most
    assert found["finish_reason"] == ("stop" if ended else "length")
    assert found["usage"] == {
        "prompt_tokens": len(row), "completion_tokens": len(answer) + ended,
        "total_tokens": len(row) + len(answer) + ended,
    }  # fmt: skip


def test_a_stream_is_the_whole_in_pieces(client: Make) -> None:
    from served import check_schema, events

    ask, text = client(), TEXTS[1]
    whole = ask.post("/v1/generate", json={"input": text}).json()
    kinds = events(ask.post("/v1/generate", json={"input": text, "stream": True}).text)
    assert "".join(data["text"] for kind, data in kinds if kind == "text") == whole["output"]
    assert len(kinds) > 3
    assert kinds[-1] == ("done", {key: whole[key] for key in ("model", "finish_reason", "usage", "warnings")})
    for kind, data in kinds:
        check_schema("TextEvent" if kind == "text" else "DoneEvent", data)
    for path, body, schema in (
        ("/v1/completions", {"model": "tiny", "prompt": text, "max_tokens": 64}, "CompletionChunk"),
        ("/v1/chat/completions", chat(text), "ChatCompletionChunk"),
    ):
        stream = {**body, "stream": True, "stream_options": {"include_usage": True}}
        *chunks, (_, last) = events(ask.post(path, json=stream).text)
        assert last == "[DONE]"
        for _, chunk in chunks:
            check_schema(schema, chunk)
        choices = [chunk["choices"][0] for _, chunk in chunks if chunk["choices"]]
        pieces = [one["text"] if "text" in one else one["delta"].get("content", "") for one in choices]
        assert "".join(pieces) == whole["output"]
        assert [one["finish_reason"] for one in choices if one["finish_reason"]] == ["stop"]
        assert chunks[-1][1]["usage"] == whole["usage"]


def test_drawing_is_that_of_generate(client: Make, tiny_model: el.Model) -> None:
    text = TEXTS[1]
    sampling = el.Sampling(temperature=1.5, top_p=0.9, seed=7)
    (wanted,) = el.generate(tiny_model, [text], sampling=sampling)
    more = {"temperature": 1.5, "top_p": 0.9, "seed": 7, "max_tokens": 64}
    ask = client()
    assert ask.post("/v1/generate", json={"input": text, **more}).json()["output"] == wanted
    talked = ask.post("/v1/chat/completions", json=chat(text, **more)).json()
    assert talked["choices"][0]["message"]["content"] == wanted
    # any of the three makes it sampling; a temperature of 0 does not
    (drawn,) = el.generate(tiny_model, [text], sampling=el.Sampling(seed=3))
    assert ask.post("/v1/generate", json={"input": text, "seed": 3}).json()["output"] == drawn
    (plain,) = el.generate(tiny_model, [text])
    assert ask.post("/v1/generate", json={"input": text, "seed": 3, "temperature": 0}).json()["output"] == plain


def test_an_answer_ends_before_a_stop_string(client: Make, tiny_model: el.Model) -> None:
    text = TEXTS[1]
    (whole,) = el.generate(tiny_model, [text])
    stop = whole.split()[1]
    (wanted,) = el.generate(tiny_model, [text], stop=stop)
    assert wanted != whole
    ask = client()
    found = ask.post("/v1/generate", json={"input": text, "stop": stop}).json()
    assert (found["output"], found["finish_reason"]) == (wanted, "stop")
    talked = ask.post("/v1/chat/completions", json=chat(text, stop=[stop])).json()
    assert talked["choices"][0]["message"]["content"] == wanted
    # a warning of the runtime's is part of the answer
    found = ask.post("/v1/generate", json={"input": text, "stop": "\N{SNOWMAN}"}).json()
    assert "never comes" in found["warnings"][0]


def test_an_adapter_answers_by_its_name(client: Make, shots: list[dict[str, str]], tiny_model: el.Model) -> None:
    ask = client()
    events = ask.post("/v1/adapt", json={"examples": shots, "name": "mine", "budget": 20, "stream": True}).text
    assert "event: done" in events
    names = [one["id"] for one in ask.get("/v1/models").json()["data"]]
    assert names == ["tiny", "mine"]
    held = ask.app.state.service.shelf.get("mine").adapter
    text = shots[0]["input"]
    (wanted,) = el.generate(tiny_model, [text], adapter=held)
    assert ask.post("/v1/generate", json={"input": text, "model": "mine"}).json()["output"] == wanted
    talked = ask.post("/v1/chat/completions", json={**chat(text), "model": "mine"}).json()
    assert talked["choices"][0]["message"]["content"] == wanted
    assert talked["model"] == "mine"


def test_content_in_parts_is_their_text(client: Make) -> None:
    ask = client()
    parts = [{"type": "text", "text": "w: "}, {"type": "text", "text": "red"}]
    message = {"role": "user", "content": parts}
    one = ask.post("/v1/chat/completions", json={"model": "tiny", "messages": [message]}).json()
    two = ask.post("/v1/chat/completions", json=chat("w: red")).json()
    assert one["choices"] == two["choices"]


def test_answers_at_once_are_those_one_after_the_other(client: Make) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ask = client(answers=3)
    texts = [f"{word}: red blue {number}" for number, word in enumerate(["w", "x", "y", "z"] * 4)]

    def answer(text: str) -> str:
        return str(ask.post("/v1/generate", json={"input": text}).json()["output"])

    alone = [answer(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, texts)) == alone


def metrics(ask: Any) -> dict[str, str]:
    lines = ask.get("/metrics").text.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_metrics_count_what_was_done(client: Make) -> None:
    ask = client()
    usage = ask.post("/v1/generate", json={"input": "w: red"}).json()["usage"]
    ask.post("/v1/generate", json={"input": 5})
    # an answer's place is free a moment after the answer was sent
    until(lambda: metrics(ask)["edge_lorahub_answers_running"] == "0")
    lines = metrics(ask)
    assert lines['edge_lorahub_requests_total{route="/v1/generate",status="200"}'] == "1"
    assert lines['edge_lorahub_requests_total{route="/v1/generate",status="400"}'] == "1"
    assert lines["edge_lorahub_source_tokens_total"] == str(usage["prompt_tokens"])
    assert lines["edge_lorahub_answer_tokens_total"] == str(usage["completion_tokens"])
