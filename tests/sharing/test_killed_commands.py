"""Commands of the store that are killed at random moments: nothing that was there is lost, and the next one cleans up.

EDGE_LORAHUB_KILLS=100 kills each of them so many times; by default two.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hub_cache import cached
from stores import left, names, objects

from edge_lorahub import Hub, Modules
from edge_lorahub.errors import OutputExistsError
from edge_lorahub.hub.index import INDEX
from edge_lorahub.sharing.publishing import publish
from edge_lorahub.testing.random_models import write_module

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks and signals")

KILLS = int(os.environ.get("EDGE_LORAHUB_KILLS", "2"))
KEPT, NEW = 4, 24


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a few modules, a folder of others, and a cache of the Hub that has these."""
    top = tmp_path_factory.mktemp("made")
    for index in range(KEPT):
        write_module(top / "kept" / f"kept-{index}", "tiny", rank=2, seed=1000 + index)
    for index in range(NEW):
        folder = write_module(top / "new" / f"new-{index:02}", "tiny", rank=2, seed=index)
        (folder / "README.md").write_text(f"# new {index}\n")
        cached(top / "home", f"me/new-{index:02}", folder)
    (top / "list.txt").write_text("".join(f"me/new-{index:02}\n" for index in range(NEW)))
    Hub(top / "store").add(sorted((top / "kept").iterdir()), tags="kept")
    return top


class Killer:
    """Kills a command within the time that it takes, each second time after its first change on the disk."""

    def __init__(self, made: Path, tmp_path: Path) -> None:
        self._made, self._folder = made, tmp_path
        self._rng = np.random.default_rng(1)
        self._whole = self._rest = 0.0  # seconds of a run that is not killed, and of what comes after its first change
        self._tries = 0
        self.seen: Counter[str] = Counter()

    def killed(self, arguments: Sequence[object], watched: Path) -> bool:
        """Whether the command was killed, and had not ended before. watched: the folder that it changes.

        The first run is not killed, but measured.
        """
        before, self._tries = sorted(os.listdir(watched)), self._tries + 1
        started = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-m", "edge_lorahub", "hub", *map(str, arguments)], stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, cwd=self._folder,
            env=os.environ | {"HF_HOME": str(self._made / "home"), "HF_HUB_OFFLINE": "1"},
        ) as process:  # fmt: skip
            if self._tries % 2:
                while process.poll() is None and sorted(os.listdir(watched)) == before:
                    time.sleep(0.0005)
            changed = time.monotonic()
            if self._tries > 1:
                time.sleep(float(self._rng.uniform(0, self._rest if self._tries % 2 else self._whole)))
                process.kill()
            _, errors = process.communicate()
        if process.returncode == -signal.SIGKILL:
            return True
        assert process.returncode == 0, errors
        if self._tries == 1:
            self._whole, self._rest = time.monotonic() - started, time.monotonic() - changed
        else:
            self.seen["ended before"] += 1
        return False


@pytest.fixture
def killer(made: Path, tmp_path: Path) -> Killer:
    return Killer(made, tmp_path)


@pytest.mark.parametrize("command", ["add", "pull"])
def test_modules_that_go_in(made: Path, killer: Killer, tmp_path: Path, command: str) -> None:
    store = tmp_path / "store"
    what = ["--modules", made / "new"] if command == "add" else [made / "list.txt"]
    arguments = [command, *what, "--tag", "new", "--store", store]
    expected = {module.name: module.sha256 for module in Modules.load(sorted((made / "new").iterdir()))}
    kept = names(Hub(made / "store"))
    kills = attempts = 0
    while kills < KILLS and attempts < 20 * KILLS + 50:
        attempts += 1
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(made / "store", store)
        if not killer.killed(arguments, store):
            continue
        kills += 1
        hub = Hub(store)
        leftovers = [name for name in left(hub) if not name.startswith(INDEX)]
        listed = hub.list()  # while they lie there
        assert [entry.name for entry in listed if entry.name in kept] == kept
        for entry in listed:
            assert entry.name in kept or (entry.sha256, entry.tags) == (expected[entry.name], ("new",))
        assert len(hub.modules()) == len(listed)  # all files are those that were added
        new = len(listed) - KEPT
        killer.seen["with leftovers" if leftovers or len(objects(hub)) > len(listed) else "without"] += 1
        killer.seen["none new" if not new else "all new" if new == NEW else "some new"] += 1
        assert hub.verify() == {}
        assert [name for name in left(hub) if name != f"{INDEX}-journal"] == []
        assert len(objects(hub)) == len(listed)
    print(f"\n{command}: {kills} killed, {dict(killer.seen)}")
    assert kills == KILLS
    hub.add(sorted((made / "new").iterdir()), tags="new")  # and the same again goes on
    assert len(names(hub)) == KEPT + NEW
    assert hub.verify() == {}


def test_what_is_published(made: Path, killer: Killer, tmp_path: Path) -> None:
    hub, places = Hub(made / "store"), tmp_path / "places"
    entry = hub.get("kept-1")
    kills = attempts = 0
    while kills < KILLS and attempts < 20 * KILLS + 50:
        attempts += 1
        shutil.rmtree(places, ignore_errors=True)
        places.mkdir()
        if not killer.killed(["publish", entry.name, "--to", places / "out", "--store", hub.path], places):
            continue
        kills += 1
        done = (places / "out").exists()
        killer.seen["there" if done else "with leftovers" if os.listdir(places) else "nothing"] += 1
        if done:
            assert Modules.load(places / "out")[0].sha256 == entry.sha256
            assert (places / "out" / "README.md").read_text().startswith("---\n")
            shutil.rmtree(places / "out")
        try:
            publish(hub, entry.name, str(places / "out"))
        except OutputExistsError:
            # all was written and only the last renaming was missing: the next command does that, and finds it done
            assert not done
            killer.seen["finished by the next"] += 1
        assert os.listdir(places) == ["out"]
        assert Modules.load(places / "out")[0].sha256 == entry.sha256
        assert (places / "out" / "README.md").read_text().startswith("---\n")
        assert hub.verify() == {}
    print(f"\npublish: {kills} killed, {dict(killer.seen)}")
    assert kills == KILLS
