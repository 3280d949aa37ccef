"""Many modules from the Hub, against a local cache laid out as huggingface_hub lays it out."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from hub_cache import cached
from huggingface_hub import constants

from edge_lorahub import EdgeLorahubWarning, Hub
from edge_lorahub.errors import HubError, HubUnreachableError, SettingsError
from edge_lorahub.hub.repositories import known_lists, repositories
from edge_lorahub.testing.random_models import write_module

Pull = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def pull(tmp_path: Path) -> Pull:
    """Runs `hub pull` with an HF_HOME of its own and HF_HUB_OFFLINE=1."""
    (tmp_path / "home").mkdir()

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edge_lorahub", "hub", "pull", *map(str, arguments), "--store", "store"],
            env=os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
            capture_output=True, text=True, cwd=tmp_path, check=False,
        )  # fmt: skip

    return call


@pytest.fixture
def remote(tmp_path: Path, pull: Pull) -> Callable[[int], None]:
    """Puts so many modules, me/task-0 and on, within reach."""

    def reach(count: int) -> None:
        for index in range(count):
            folder = write_module(tmp_path / "made" / f"task-{index}", "tiny", seed=index, rank=2)
            (folder / "README.md").write_text(f"# task {index}\n")
            if not (tmp_path / "home" / "hub" / f"models--me--task-{index}").exists():
                cached(tmp_path / "home", f"me/task-{index}", folder)

    return reach


def test_the_papers_modules_are_a_list() -> None:
    assert known_lists() == ["lorahub"]
    names = repositories("lorahub")
    assert len(set(names)) == len(names) == 196
    assert all(name.startswith("lorahub/flan_t5_large-") for name in names)


def test_the_list_is_that_of_the_released_package() -> None:
    package = importlib.util.find_spec("lorahub")
    if package is None or package.origin is None:
        pytest.skip("lorahub 0.1.0 is not installed")
    # its constants alone: the package imports torch
    constants = runpy.run_path(str(Path(package.origin).with_name("constant.py")))
    assert repositories("lorahub") == constants["LORA_MODULE_NAMES"]


def test_a_draw_is_that_of_the_released_code(run: Callable[..., Result]) -> None:
    """`random.seed(1)` and `random.sample(LORA_MODULE_NAMES, 20)`."""
    random.seed(1)
    expected = random.sample(repositories("lorahub"), 20)
    result = run("hub", "pull", "lorahub", "--count", 20, "--seed", 1, "--dry-run")
    assert result.stdout.splitlines() == expected
    assert json.loads(run("hub", "pull", "lorahub", "--count", 20, "--dry-run", "--json").stdout) == expected


def test_a_list_file(pull: Pull, remote: Callable[[int], None], tmp_path: Path) -> None:
    """What is within reach is stored; the same command goes on when the rest is."""
    remote(3)
    (tmp_path / "list.txt").write_text("# mine\n" + "".join(f"me/task-{index}\n" for index in range(5)) + "\n")
    first = pull("list.txt", "--tag", "mine")
    assert first.returncode == 2
    assert first.stderr.startswith("Error: me/task-3: not a local folder, not in the local Hub cache, and the Hub ")
    assert first.stderr.endswith("; 3 of 5 modules were pulled before, and the same command goes on\n")
    hub = Hub(tmp_path / "store")
    assert [entry.name for entry in hub.list(tags="mine")] == ["task-0", "task-1", "task-2"]
    remote(5)
    shutil.rmtree(tmp_path / "home" / "hub" / "models--me--task-0")  # what is there is not asked for again
    second = pull("list.txt", "--tag", "again")
    assert (second.returncode, second.stderr) == (0, "")
    lines = [line.partition(" (")[0] for line in second.stdout.splitlines()]
    assert lines == [*(f"there already: task-{n}" for n in range(3)), "added: task-3", "added: task-4"]
    assert len(hub.list(tags="again")) == 5
    assert hub.get("task-1").source == "me/task-1"
    assert (hub.get("task-1").folder / "README.md").read_text() == "# task 1\n"
    assert hub.verify() == {}
    (hub.get("task-1").folder / "README.md").write_text("changed")
    assert list(hub.verify()) == ["task-1"]
    (tmp_path / "list.txt").write_text("me/task-1\nme/task-2\n")
    assert pull("list.txt").returncode == 0
    assert hub.verify() == {}  # mended


def test_something_here_is_not_taken_for_the_hubs(pull: Pull, remote: Callable[[int], None], tmp_path: Path) -> None:
    remote(1)
    write_module(tmp_path / "me" / "task-0", "tiny", seed=9)
    refused = pull("me/task-0")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "something is here under that name" in refused.stderr


def test_one_id_that_is_no_module(pull: Pull, remote: Callable[[int], None], checkpoint: Path, tmp_path: Path) -> None:
    remote(1)
    cached(tmp_path / "home", "me/model", checkpoint)
    done = pull("me/model", "me/task-0")
    assert done.returncode == 2
    assert done.stdout.startswith("added: task-0")
    assert done.stderr.splitlines() == [
        "not added: me/model: the Hub has no adapter_config.json there, so it is not a LoRA module",
        "Error: 1 of 2 modules not added, for the reasons above",
    ]


class Session:
    """Of a Hub that answers, or does not."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def head(self, url: str, *, timeout: float) -> None:
        assert (url, timeout > 0) == (constants.ENDPOINT, True)
        if self._error is not None:
            raise self._error


def test_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [SimpleNamespace(id=name) for name in ("me/b-2", "me/b-1", "me/c-1", "me/B-3")]
    asked = []

    class Api:
        def list_models(self, *, author: str) -> list[SimpleNamespace]:
            asked.append(author)
            return models

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: Session())
    assert repositories("me/b-*") == ["me/b-1", "me/b-2"]
    assert repositories("me/[bc]-1") == ["me/b-1", "me/c-1"]
    assert asked == ["me", "me"]
    with pytest.raises(HubError, match="no repository of me on the Hub has such a name"):
        repositories("me/x*")
    for pattern in ("*", "*/x", "m?/x", "/x*"):
        with pytest.raises(SettingsError, match="a pattern needs its owner in full"):
            repositories(pattern)


def test_a_pattern_where_the_hub_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    class Api:
        def list_models(self, *, author: str) -> list[SimpleNamespace]:
            raise ConnectionError("offline")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: Session())
    with pytest.warns(EdgeLorahubWarning, match="the names are those of the package's own lists"):
        assert len(repositories("lorahub/flan_t5_large-*")) == 196
    with pytest.raises(HubUnreachableError, match="the Hub cannot be asked which names that is"):
        repositories("me/*")


def test_the_library_does_not_ask_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Api:
        def list_models(self, *, author: str) -> list[SimpleNamespace]:
            raise AssertionError("asked, where the Hub did not answer before")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: Session(ConnectionError("no such name")))
    with pytest.raises(HubUnreachableError, match="no such name"):
        repositories("me/*")


@pytest.mark.parametrize(
    ("text", "line"),
    [("me/a\nx y\n", "line 2: 'x y' is no Hub id"), ("me/a\n\nme/a", "line 3: me/a is in line 1 already"),
     ("# none\n", "no line with a Hub id in it"), ("../../etc\n", "is no Hub id"), ("a\n", "'a' is no Hub id")],
)  # fmt: skip
def test_lists_that_are_refused(text: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(SettingsError, match=line):
        repositories(str(tmp_path / "list"))


def test_what_is_refused(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in fails("hub", "pull", tmp_path / "noise")
    for what in ("", "x", "a/b/c", "../x"):
        assert "neither a list (lorahub), nor a file" in fails("hub", "pull", what)
    assert "both be called 'x'" in fails("hub", "pull", "me/x", "you/x", "--store", tmp_path / "store")
    assert "there are 196 to draw from" in fails("hub", "pull", "lorahub", "--count", 200, "--dry-run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert repositories("lorahub/x") == ["lorahub/x"]
