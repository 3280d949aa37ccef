"""A model with a chat template: what is put around a text, and what is left alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edge_lorahub as el
from edge_lorahub.bundle.manifest import MANIFEST, read_manifest
from edge_lorahub.bundle.prompt import Prompt, TextRule

# What a chat template could be for the tiny T5.
CHAT = Prompt("w1 ", " w2", system_before="w3 ", system_after=" w4 ", system_rule=TextRule(None, None))
TEXT = "w10 w11 w12"


@pytest.fixture(scope="module")
def chat_model(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> el.Model:
    copy = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("chat") / "bundle"))
    (copy / MANIFEST).write_text(replace(read_manifest(copy), prompt=CHAT).to_json())
    return el.load(copy, threads=1)


@pytest.fixture
def ask(chat_model: el.Model, modules: el.Modules) -> Iterator[Any]:
    from starlette.testclient import TestClient

    from edge_lorahub.serve.app import application
    from edge_lorahub.serve.guard import Access
    from edge_lorahub.serve.service import Service

    service = Service(chat_model, "chat", modules)
    with TestClient(application(service, Access("127.0.0.1")), base_url="http://localhost") as client:
        yield client


def talk(ask: Any, *messages: dict[str, str], model: str = "chat") -> Any:
    return ask.post("/v1/chat/completions", json={"model": model, "messages": messages, "max_tokens": 16})


def test_a_chat_is_within_the_template_and_a_completion_is_not(ask: Any, chat_model: el.Model) -> None:
    user, system = {"role": "user", "content": TEXT}, {"role": "system", "content": "w40"}
    answers = []
    for messages, given in (([user], None), ([system, user], "w40"), ([{**system, "role": "developer"}, user], "w40")):
        (wanted,) = el.generate(chat_model, [TEXT], max_new_tokens=16, system=given)
        found = talk(ask, *messages).json()
        assert found["choices"][0]["message"]["content"] == wanted
        body = {"input": TEXT, "max_tokens": 16, "system": given}
        assert ask.post("/v1/generate", json=body).json()["output"] == wanted
        answers.append((wanted, found["usage"]["prompt_tokens"]))
    (wanted,) = el.generate(chat_model, [TEXT], max_new_tokens=16, prompt="plain")
    found = ask.post("/v1/completions", json={"model": "chat", "prompt": TEXT, "max_tokens": 16}).json()
    assert found["choices"][0]["text"] == wanted
    lengths = [found["usage"]["prompt_tokens"], *(length for _, length in answers)]
    assert lengths[0] < lengths[1] < lengths[2] == lengths[3]


def test_an_adapter_keeps_its_prompt_and_refuses_another(ask: Any, examples: list[el.Example]) -> None:
    shots = [{"input": one.input, "output": one.output} for one in examples]
    body = {"examples": shots, "budget": 8, "name": "mine", "system": "w40", "stream": True}
    assert "event: done" in ask.post("/v1/adapt", json=body).text
    service = ask.app.state.service
    adapter = service.shelf.get("mine").adapter
    (wanted,) = el.generate(service.model, [TEXT], adapter=adapter, max_new_tokens=16)
    found = talk(ask, {"role": "user", "content": TEXT}, model="mine").json()
    assert found["choices"][0]["message"]["content"] == wanted
    assert "warnings" not in found
    refused = ask.post("/v1/completions", json={"model": "mine", "prompt": TEXT})
    assert refused.status_code == 400
    assert "/v1/chat/completions" in refused.json()["error"]["message"]
    # another system text than it was learned with is told
    found = talk(ask, {"role": "system", "content": "w41"}, {"role": "user", "content": TEXT}, model="mine").json()
    assert "learned with another prompt" in found["warnings"][0]
