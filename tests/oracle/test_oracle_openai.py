"""The service with OpenAI's own client: what it sends is understood, and what it reads are its own types."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edge_lorahub as el
from edge_lorahub.export import export
from edge_lorahub.tinyhub import examples as draw
from edge_lorahub.tinyhub.hub import BASE, module_folders
from edge_lorahub.tinyhub.unseen import DEV_TASKS

pytestmark = pytest.mark.oracle
openai = pytest.importorskip("openai", reason="the client of OpenAI's: pip install openai")
pytest.importorskip("uvicorn", reason="pip install 'edge-lorahub[serve]'")

TEXT = "w: red blue"
MESSAGES = [{"role": "user", "content": TEXT}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> el.Model:
    out: Path = tmp_path_factory.mktemp("openai") / "tiny"
    export(BASE, out)
    return el.load(out, threads=1)


@pytest.fixture(scope="module")
def address(model: el.Model) -> Iterator[str]:
    from served import served

    from edge_lorahub.serve.service import Service

    with served(Service(model, "tiny", el.Modules.load(module_folders("clean")[:8]))) as port:
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=address, api_key="none", max_retries=0) as found:
        yield found


def test_models_are_listed(client: Any) -> None:
    assert "tiny" in [one.id for one in client.models.list()]


def test_answers_are_those_of_generate(client: Any, model: el.Model) -> None:
    (wanted,) = el.generate(model, [TEXT])
    talked = client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=64)
    assert talked.choices[0].message.content == wanted
    assert talked.choices[0].finish_reason == "stop"
    completed = client.completions.create(model="tiny", prompt=TEXT, max_tokens=64)
    assert completed.choices[0].text == wanted
    assert completed.usage.total_tokens == completed.usage.prompt_tokens + completed.usage.completion_tokens
    assert talked.usage.completion_tokens == completed.usage.completion_tokens
    short = client.chat.completions.create(model="tiny", messages=MESSAGES, max_completion_tokens=2)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 2)
    sampling = el.Sampling(temperature=1.2, top_p=0.9, seed=5)
    (drawn,) = el.generate(model, [TEXT], sampling=sampling, stop=["di", "!"])
    given: dict[str, Any] = {"temperature": 1.2, "top_p": 0.9, "seed": 5, "stop": ["di", "!"], "max_tokens": 64}
    assert client.chat.completions.create(model="tiny", messages=MESSAGES, **given).choices[0].message.content == drawn


def test_streams_are_the_same_in_pieces(client: Any) -> None:
    whole = client.chat.completions.create(model="tiny", messages=MESSAGES)
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True, stream_options=options))
    assert chunks[-1].usage == whole.usage
    choices = [one.choices[0] for one in chunks if one.choices]
    assert "".join(one.delta.content or "" for one in choices) == whole.choices[0].message.content
    assert choices[0].delta.role == "assistant"
    assert [one.finish_reason for one in choices if one.finish_reason] == ["stop"]
    pieces = client.completions.create(model="tiny", prompt=TEXT, stream=True, max_tokens=64)
    assert "".join(one.choices[0].text for one in pieces) == whole.choices[0].message.content
    with client.chat.completions.stream(model="tiny", messages=MESSAGES) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == whole.choices[0].message.content


def test_an_adapter_is_a_model(client: Any) -> None:
    shots = [{"input": one, "output": two} for one, two in draw(DEV_TASKS[0].task, 5, 1)]
    answer = client.post("/adapt", body={"examples": shots, "name": "mine", "budget": 20, "stream": True}, cast_to=str)
    assert "event: done" in answer
    found = client.chat.completions.create(model="mine", messages=[{"role": "user", "content": shots[0]["input"]}])
    assert found.model == "mine"


@pytest.mark.parametrize(
    ("more", "kind", "param"),
    [
        ({"n": 2}, openai.BadRequestError, "n"),
        ({"logprobs": True}, openai.BadRequestError, "logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, openai.BadRequestError, "tools"),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "response_format"),
        ({"model": "none"}, openai.NotFoundError, "model"),
        ({"extra_body": {"top_k": 5}}, openai.BadRequestError, "top_k"),
    ],
)
def test_what_is_not_supported_is_an_error(client: Any, more: dict[str, Any], kind: Any, param: str) -> None:
    with pytest.raises(kind) as error:
        client.chat.completions.create(**{"model": "tiny", "messages": MESSAGES, **more})
    assert error.value.param == param


def test_many_at_once(address: str, model: el.Model) -> None:
    texts = [f"w: red blue {number}" for number in range(16)]

    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=address, api_key="none", max_retries=0) as client:
            jobs = [
                client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": text}])
                for text in texts
            ]
            return [one.choices[0].message.content for one in await asyncio.gather(*jobs)]

    assert asyncio.run(ask()) == el.generate(model, texts)


def test_the_token_is_the_api_key(model: el.Model) -> None:
    from served import served

    from edge_lorahub.serve.service import Service

    token = "a-token-of-some-length"
    with served(Service(model, "tiny"), token) as port:
        base = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(base_url=base, api_key=token, max_retries=0) as right:
            assert [one.id for one in right.models.list()] == ["tiny"]
        with (
            openai.OpenAI(base_url=base, api_key="another", max_retries=0) as wrong,
            pytest.raises(openai.AuthenticationError),
        ):
            wrong.models.list()
