"""The embedded hub's model, served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import edge_lorahub as el
from edge_lorahub.export import export
from edge_lorahub.tinyhub import examples as draw
from edge_lorahub.tinyhub.hub import BASE, module_folders
from edge_lorahub.tinyhub.unseen import DEV_TASKS

if TYPE_CHECKING:
    from starlette.testclient import TestClient

    from edge_lorahub.serve.service import Service

WHY = "the service needs its extra: pip install 'edge-lorahub[serve]', and httpx2 for its tests"


@pytest.fixture(scope="session", autouse=True)
def _extra() -> None:
    for name in ("starlette", "uvicorn", "httpx2"):
        pytest.importorskip(name, reason=WHY)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "tiny"
    export(BASE, out)
    return out


@pytest.fixture(scope="session")
def tiny_model(tiny_bundle: Path) -> el.Model:
    return el.load(tiny_bundle, threads=1)


@pytest.fixture(scope="session")
def tiny_modules() -> el.Modules:
    return el.Modules.load(module_folders("clean")[:8])


@pytest.fixture(scope="session")
def task() -> list[el.Example]:
    return [el.Example(*pair) for pair in draw(DEV_TASKS[0].task, 5, 1)]


@pytest.fixture(scope="session")
def shots(task: list[el.Example]) -> list[dict[str, str]]:
    return [{"input": one.input, "output": one.output} for one in task]


@pytest.fixture
def service(tiny_model: el.Model, tiny_modules: el.Modules, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Makes services, with a folder for adapters and limits by name; closes them."""
    from edge_lorahub.serve.limits import Limits
    from edge_lorahub.serve.service import Service

    made = []

    def make(*, adapts: bool = True, folder: Path | None = tmp_path, **limits: Any) -> Service:
        found = Service(tiny_model, "tiny", tiny_modules if adapts else None, folder, Limits(**limits))
        made.append(found)
        return found

    yield make
    for one in made:
        one.close()


@pytest.fixture
def client(service: Callable[..., Service]) -> Iterator[Callable[..., TestClient]]:
    """Makes clients of services in this process; every answer is compared with the description."""
    from served import check_answer
    from starlette.testclient import TestClient

    from edge_lorahub.serve.app import application
    from edge_lorahub.serve.guard import Access

    opened = []

    def make(access: Access | None = None, *, base_url: str = "http://localhost", **given: Any) -> TestClient:
        app = application(service(**given), access or Access("127.0.0.1"))
        found = TestClient(app, base_url=base_url)

        def checked(response: Any) -> None:
            response.read()
            kind = response.headers.get("content-type", "")
            check_answer(response.request.method, response.request.url.path, response.status_code, kind, response.text)

        found.event_hooks = {"response": [checked]}
        found.__enter__()
        opened.append(found)
        return found

    yield make
    for one in opened:
        one.__exit__()
