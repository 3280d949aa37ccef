"""Adaptations over HTTP are those of `adapt`; they are watched, cancelled, and their adapters saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edge_lorahub as el
from edge_lorahub.lora.loading import load_module

Make = Callable[..., Any]
Shots = list[dict[str, str]]


def ended(ask: Any, job: str, seconds: float = 60.0) -> dict[str, Any]:
    """The job, when it has ended."""
    deadline = time.monotonic() + seconds
    while True:
        record: dict[str, Any] = ask.get(f"/v1/adapt/{job}").json()
        if record["state"] not in ("waiting", "running"):
            return record
        assert time.monotonic() < deadline, record
        time.sleep(0.02)


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Every candidate takes 50 ms longer; gives how many there were."""
    from edge_lorahub.learning.loss_evaluator import LossEvaluator

    count = 0
    evaluate = LossEvaluator.__call__

    def slow(self: LossEvaluator, proposal: Any) -> Any:
        nonlocal count
        for observation in evaluate(self, proposal):
            count += 1
            time.sleep(0.05)
            yield observation

    monkeypatch.setattr(LossEvaluator, "__call__", slow)
    return lambda: count


def test_the_result_is_that_of_adapt(
    client: Make, tiny_model: el.Model, tiny_modules: el.Modules, task: list[el.Example], shots: Shots
) -> None:
    from served import check_schema, events

    wanted = el.adapt(tiny_model, tiny_modules, task, seed=3, budget=30)
    ask = client()
    body = {"examples": shots, "seed": 3, "budget": 30, "name": "mine", "stream": True}
    found = events(ask.post("/v1/adapt", json=body).text)
    assert [kind for kind, _ in found[:3]] == ["job", "running", "budget"]
    candidates = [data for kind, data in found if kind == "candidate"]
    assert [one["loss"] for one in candidates] == [one.loss for one in wanted.trace]
    assert [one["phase"] for one in candidates] == [one.phase for one in wanted.trace]
    schemas = {"job": "Adaptation", "budget": "BudgetEvent", "candidate": "CandidateEvent", "done": "Result"}
    for kind, data in found:
        if kind in schemas:
            check_schema(schemas[kind], data)
    kind, result = found[-1]
    assert kind == "done"
    assert result["weights"] == wanted.weights
    assert (result["loss_before"], result["loss_after"]) == (wanted.loss_before, wanted.loss_after)
    (job,) = ask.get("/v1/adapt").json()["data"]
    assert job["result"] == result
    # who comes later gets the same events, and behind the last that was seen the rest
    assert events(ask.get(f"/v1/adapt/{job['id']}/events").text)[1:] == found[1:]
    rest = ask.get(f"/v1/adapt/{job['id']}/events", headers={"last-event-id": str(len(found) - 3)}).text
    assert events(rest) == found[-2:]


def test_the_reference_search_can_be_asked_for(client: Make, shots: Shots) -> None:
    ask = client()
    job = ask.post("/v1/adapt", json={"examples": shots, "optimizer": "reference", "budget": 5}).json()["id"]
    found = ended(ask, job)
    assert found["state"] == "done", found
    assert found["result"]["composition"] == "paper"


def test_an_adapter_is_saved_and_read_back_and_deleted(
    client: Make, shots: Shots, tmp_path: Path, tiny_model: el.Model
) -> None:
    ask = client()
    job = ask.post("/v1/adapt", json={"examples": shots, "budget": 20}).json()
    assert job["adapter"] == "adapted-1"
    assert ended(ask, job["id"])["state"] == "done"
    assert ask.get("/v1/adapters").json()["data"] == [{"name": "adapted-1", "held": True, "saved": False}]
    assert ask.put("/v1/adapters/kept", json={"from": "adapted-1"}).status_code == 201
    assert ask.put("/v1/adapters/kept", json={"from": "adapted-1"}).status_code == 409
    for name in ("tiny", "TINY", "..%2fy", "a%00b", "con", "a" * 65, "-a", ".a", "a.", "ü"):
        assert ask.put(f"/v1/adapters/{name}", json={"from": "adapted-1"}).status_code in (400, 404, 409), name
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    held = ask.app.state.service.shelf.get("adapted-1").adapter
    assert load_module(tmp_path / "kept").sha256 == held.sha256
    # another service finds it in the folder
    other = client()
    assert other.get("/v1/adapters").json()["data"] == [{"name": "kept", "held": False, "saved": True}]
    learned = other.get("/v1/adapters/kept").json()["learned"]
    assert learned["examples"] == 5
    text = shots[0]["input"]
    (wanted,) = el.generate(tiny_model, [text], adapter=held)
    assert other.post("/v1/generate", json={"input": text, "model": "kept"}).json()["output"] == wanted
    # a name that is not asked for is one that nothing has
    (tmp_path / "kept").rename(tmp_path / "adapted-1")
    job = client().post("/v1/adapt", json={"examples": shots, "budget": 2}).json()
    assert job["adapter"] == "adapted-2"
    (tmp_path / "adapted-1").rename(tmp_path / "kept")
    assert other.delete("/v1/adapters/kept").status_code == 200
    assert list(tmp_path.iterdir()) == []
    assert other.delete("/v1/adapters/kept").status_code == 404


def test_what_is_not_ours_is_not_deleted(client: Make, tmp_path: Path, shots: Shots) -> None:
    import shutil

    from edge_lorahub.tinyhub.hub import module_folders

    shutil.copytree(module_folders("clean")[0], tmp_path / "module")
    (tmp_path / "link").symlink_to(tmp_path / "module")
    (tmp_path / "notes").mkdir()
    ask = client()
    assert [one["name"] for one in ask.get("/v1/adapters").json()["data"]] == ["link", "module"]
    for name, status in (("module", 409), ("link", 409), ("notes", 404)):
        assert ask.delete(f"/v1/adapters/{name}").status_code == status
        assert (tmp_path / name).is_dir()
    assert ask.post("/v1/adapt", json={"examples": shots, "name": "module"}).status_code == 409


def test_a_damaged_adapter_is_told_and_the_service_goes_on(client: Make, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "adapter_config.json").write_text("{")
    ask = client()
    response = ask.post("/v1/generate", json={"input": "a", "model": "broken"})
    assert response.status_code == 400
    assert ask.post("/v1/generate", json={"input": "a"}).status_code == 200


def test_an_adaptation_that_is_cancelled_ends(client: Make, shots: Shots, slowly: Callable[[], int]) -> None:
    ask = client()
    body = {"examples": shots, "name": "never"}
    job = ask.post("/v1/adapt", json=body).json()["id"]
    second = ask.post("/v1/adapt", json={**body, "name": "second", "budget": 3}).json()["id"]
    assert ask.post("/v1/adapt", json=body).status_code == 409  # the name is taken, though nothing has it yet
    while ask.get(f"/v1/adapt/{job}").json()["candidates"] < 2:
        time.sleep(0.01)
    assert ask.get(f"/v1/adapt/{second}").json()["state"] == "waiting"
    assert ask.delete(f"/v1/adapt/{job}").json()["state"] == "cancelled"
    assert ended(ask, second)["state"] == "done"
    assert slowly() < 60
    assert [one["name"] for one in ask.get("/v1/adapters").json()["data"]] == ["second"]
    assert ask.delete(f"/v1/adapt/{second}").json()["state"] == "done"  # what has ended stays as it is
    again = ask.post("/v1/adapt", json={**body, "budget": 3})
    assert ended(ask, again.json()["id"])["state"] == "done"


def test_one_that_waits_can_be_cancelled(client: Make, shots: Shots, slowly: Callable[[], int]) -> None:
    ask = client()
    first, second = (ask.post("/v1/adapt", json={"examples": shots}).json()["id"] for _ in range(2))
    assert ask.delete(f"/v1/adapt/{second}").json()["state"] == "cancelled"
    assert ask.delete(f"/v1/adapt/{first}").json()["state"] == "cancelled"


def test_too_many_are_refused(client: Make, shots: Shots, slowly: Callable[[], int]) -> None:
    ask = client(waiting_adaptations=1)
    jobs = [ask.post("/v1/adapt", json={"examples": shots}) for _ in range(4)]
    assert [one.status_code for one in jobs] == [202, 202, 429, 429]
    assert jobs[-1].headers["retry-after"]
    for one in jobs[:2]:
        ask.delete(one.headers["location"])


def test_the_time_of_an_adaptation_is_bounded(client: Make, shots: Shots, slowly: Callable[[], int]) -> None:
    ask = client(adapt_seconds=0.3)
    found = ended(ask, ask.post("/v1/adapt", json={"examples": shots}).json()["id"])
    assert found["state"] == "failed"
    assert found["error"]["code"] == "time_over"
    done = f"it had evaluated {found['candidates']} candidate"
    assert done in found["error"]["message"]
    assert "a smaller budget, or start the service with a larger --max-adapt-seconds" in found["error"]["message"]
    assert found["adapter"] is None, "the next one may have the name"
    assert ask.get("/v1/adapters").json()["data"] == []


def test_without_modules_or_a_folder_it_says_so(client: Make, shots: Shots) -> None:
    ask = client(adapts=False, folder=None)
    response = ask.post("/v1/adapt", json={"examples": shots})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "no_modules")
    ask = client(folder=None)
    job = ask.post("/v1/adapt", json={"examples": shots, "budget": 3}).json()
    ended(ask, job["id"])
    response = ask.put("/v1/adapters/kept", json={"from": job["adapter"]})
    assert response.status_code == 409
    assert "--adapters" in response.json()["error"]["message"]


def test_adapters_in_memory_are_bounded(client: Make, shots: Shots) -> None:
    ask = client(adapters=2)
    for name in ("a", "b", "c"):
        ended(ask, ask.post("/v1/adapt", json={"examples": shots, "budget": 3, "name": name}).json()["id"])
        if name == "b":  # used last
            ask.get("/v1/adapters/a")
    assert [one["name"] for one in ask.get("/v1/adapters").json()["data"]] == ["a", "c"]
    assert ask.get("/v1/adapters/b").status_code == 404
    small = client(adapter_bytes=1)
    for name in ("d", "e"):
        ended(small, small.post("/v1/adapt", json={"examples": shots, "budget": 3, "name": name}).json()["id"])
    assert [one["name"] for one in small.get("/v1/adapters").json()["data"]] == ["e"]


def test_jobs_that_are_remembered_are_bounded(client: Make, shots: Shots) -> None:
    ask = client(jobs=2)
    for _ in range(4):
        ended(ask, ask.post("/v1/adapt", json={"examples": shots, "budget": 2}).json()["id"])
    assert [one["id"] for one in ask.get("/v1/adapt").json()["data"]] == ["adaptation-3", "adaptation-4"]
    assert ask.get("/v1/adapt/adaptation-1").status_code == 404


def test_a_defect_is_no_secret_and_tells_none(
    client: Make, shots: Shots, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from edge_lorahub.serve import adaptations

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("of the inside: /etc/secret")

    monkeypatch.setattr(adaptations, "adapt", broken)
    ask = client()
    found = ended(ask, ask.post("/v1/adapt", json={"examples": shots}).json()["id"])
    assert found["state"] == "failed"
    assert found["error"]["code"] == "defect"
    assert "secret" not in str(found)
    assert "secret" in caplog.text
    assert ask.post("/v1/generate", json={"input": "a"}).status_code == 200


def test_who_goes_away_before_the_first_event_ends_it_too() -> None:
    import asyncio

    from edge_lorahub.serve.event_stream import EventStream

    ends = []

    async def events() -> Any:
        yield "never"

    async def ended() -> None:
        ends.append(1)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await asyncio.sleep(60)

    asyncio.run(EventStream(events(), ended)({"type": "http"}, receive, send))
    assert ends == [1]
