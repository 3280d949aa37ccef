"""The store under several processes, and under those that are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_lorahub import Hub, Modules
from edge_lorahub.hub.index import INDEX, OBJECTS
from edge_lorahub.testing.random_models import write_module

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks and signals")


def command(store: Path, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "edge_lorahub", "hub", *map(str, arguments), "--store", str(store)]


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders of 50 modules each, of which five are in both."""
    top = tmp_path_factory.mktemp("many")
    for number in range(2):
        for index in range(50):
            shared = index < 5
            write_module(top / str(number) / f"{number}-{index:02}", "tiny", rank=2,
                         seed=index + 1000 * (0 if shared else number + 1))  # fmt: skip
    return [top / "0", top / "1"]


def check(hub: Hub, before: set[str]) -> None:
    """All that was there is there, what is listed is whole, and nothing else lies in the store."""
    assert before <= {entry.name for entry in hub.list()}
    assert hub.verify() == {}
    # SQLite leaves a journal that was not begun until the next change
    assert {path.name for path in hub.path.iterdir()} <= {INDEX, OBJECTS, f"{INDEX}-journal"}
    assert len(os.listdir(hub.path / OBJECTS)) == len({entry.folder for entry in hub.list()})


def test_two_processes_at_once(parents: list[Path], tmp_path: Path) -> None:
    store = tmp_path / "store"
    running = [
        subprocess.Popen(command(store, "add", "--modules", parent), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for parent in parents
    ]
    for process in running:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, b"")
    hub = Hub(store)
    check(hub, set())
    assert len(hub.list()) == 100
    assert len({entry.folder for entry in hub.list()}) == 95
    # and one removes what the other adds
    running = [
        subprocess.Popen(command(store, "remove", *(f"0-{index:02}" for index in range(50)))),
        subprocess.Popen(command(store, "add", *sorted(parents[0].iterdir()), "--tag", "again"),
                         stdout=subprocess.DEVNULL),
    ]  # fmt: skip
    for process in running:
        process.wait()
    check(hub, {f"1-{index:02}" for index in range(50)})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_commands_that_are_ended(parents: list[Path], tmp_path: Path, number: signal.Signals) -> None:
    """At random moments. EDGE_LORAHUB_KILLS=100 ends so many; by default two. What comes then is as if it had not."""
    rng = np.random.default_rng(int(number))
    kills = 1 + int(os.environ.get("EDGE_LORAHUB_KILLS", "1"))
    store = tmp_path / "store"
    hub = Hub(store)
    kept = {entry.name for entry in hub.add(sorted(parents[1].iterdir())[:10])}
    ended, longest = 0, 1.0
    for attempt in range(20 * kills):
        arguments = ("remove", *(f"0-{i:02}" for i in range(50))) if len(hub.list()) == 60 else (
            "add", "--modules", parents[0], "--tag", "new")  # fmt: skip
        started = time.monotonic()
        with subprocess.Popen(command(store, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            time.sleep(float(rng.uniform(0.02, longest)))
            process.send_signal(number)
            _, errors = process.communicate()
        listed = {entry.name for entry in hub.list()}  # also while its leftovers lie there
        assert kept <= listed
        if process.returncode not in (-number, 128 + number):
            if b"init_import_site" in errors:
                continue  # Python itself was interrupted, before it came to us
            longest = time.monotonic() - started
            assert process.returncode in (0, 2), errors  # 2: what was to be removed is gone already
        else:
            ended += 1
        if attempt % 2:
            check(hub, kept)
        if ended == kills:
            break
    out = tmp_path / "published"
    for _ in range(kills):  # what is published appears whole or not at all
        with subprocess.Popen(command(store, "publish", "1-01", "--to", out), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:  # fmt: skip
            time.sleep(float(rng.uniform(0.02, 0.6)))
            process.send_signal(number)
        if out.exists():
            assert Modules.load(out)[0].sha256 == hub.get("1-01").sha256
            shutil.rmtree(out)
    assert subprocess.run(command(store, "publish", "1-01", "--to", out), check=False).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["published", "store"]
    shutil.copytree(store, tmp_path / "copy")  # as a backup has it
    done = subprocess.run(command(store, "add", "--modules", parents[0]), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(hub.list()) == 60
    check(hub, kept)
    check(Hub(tmp_path / "copy"), kept)
