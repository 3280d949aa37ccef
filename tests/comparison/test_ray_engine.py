"""`compare --engine ray` on a cluster of two nodes on this machine: the same cells, whoever is lost meanwhile.

The nodes have a processor each and see the same disk; what travels is tried with folders that they do not find.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result as Said
from comparisons import MakePlan, answers_alone, compared

from edge_lorahub.comparison.cell import Cell
from edge_lorahub.comparison.ray_cluster import import_ray
from edge_lorahub.comparison.ray_engine import RayEngine
from edge_lorahub.comparison.result import Result
from edge_lorahub.errors import ClusterError, EdgeLorahubWarning, SettingsError

pytest.importorskip("ray", reason="the extra ray is not installed")

pytestmark = [
    pytest.mark.oracle,
    # short searches of random weights find nothing
    pytest.mark.filterwarnings("ignore:task .* candidates of optimizer"),
    pytest.mark.filterwarnings("ignore:task .* a budget of"),
    # Ray's own files and sockets
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NODE = {"num_cpus": 1, "object_store_memory": 100 << 20, "memory": 2 << 30}
SHORT = ("--seeds", 2, "--limit", 4, "--budget", 3, "--no-surrogate")
SMALL = 100 << 20


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("RAY_worker_niceness", "0")
    import_ray()
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    found.second = found.add_node(**NODE)
    yield found
    found.shutdown()


class Recorded:
    """An engine whose cells are looked at as they come."""

    def __init__(self, engine: RayEngine, look: Callable[[int, Cell], None]) -> None:
        self._engine, self._look = engine, look

    def run(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Result]]:
        running = self._engine.run(cells)
        try:
            for place, (cell, result) in enumerate(running):
                self._look(place, cell)
                yield cell, result
        finally:
            running.close()


def kept(run: Path) -> dict[str, object]:
    """Of each cell what does not depend on time."""
    found = {}
    for path in (run / "cells").glob("*.json"):
        result = json.loads(path.read_text())["result"]
        found[path.name] = {key: value for key, value in result.items() if key != "seconds"}
    return found


def workers() -> list[int]:
    """The processes of our class on this machine."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if line.startswith("ray::Worker"):
            found.append(int(entry.name))
    return found


def wait_for(happened: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_same_cells_as_local_whether_or_not_nodes_share_folders(
    cluster: Any, run: Callable[..., Said], bundle: Path, data: Path, module_folders: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arguments = ["compare", bundle, data, "--modules", module_folders[0].parent, *SHORT]
    assert run(*arguments, "--jobs", 1, "--out", tmp_path / "local").exit_code == 0
    said = run(*arguments, "--engine", "ray", "--address", cluster.address, "--out", tmp_path / "ray")
    assert said.exit_code == 0, said.output
    assert "ray" not in said.stderr.lower()
    assert len(kept(tmp_path / "ray")) == 24
    assert kept(tmp_path / "ray") == kept(tmp_path / "local")
    tables = [answers_alone((tmp_path / name / "table.md").read_text()) for name in ("ray", "local")]
    assert tables[0] == tables[1]
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "edge-lorahub" / "freight"
    assert not cache.exists()
    # the nodes were started in another folder, and find other files under such paths
    (tmp_path / "tiny").symlink_to(bundle)
    (tmp_path / "modules").symlink_to(module_folders[0].parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edge_lorahub.comparison.freight.PIECE", 1000)
    arguments = ["compare", "/proc/self/cwd/tiny", data, "--modules", "/proc/self/cwd/modules", *SHORT]
    said = run(*arguments, "--engine", "ray", "--address", cluster.address, "--out", tmp_path / "sent")
    assert said.exit_code == 0, said.output
    assert kept(tmp_path / "sent") == kept(tmp_path / "local")
    assert sum(path.is_dir() for path in cache.iterdir()) == 1 + len(module_folders)


def test_a_worker_that_is_killed_and_a_node_that_goes_change_no_cell(
    cluster: Any, make_plan: MakePlan, tmp_path: Path
) -> None:
    plan = make_plan()

    def look(place: int, cell: Cell) -> None:
        if place == 3:
            os.kill(workers()[0], signal.SIGKILL)
        elif place == 12:
            cluster.remove_node(cluster.second)

    engine = Recorded(RayEngine(SMALL, 1, None, cluster.address), look)
    with pytest.warns(EdgeLorahubWarning, match="measured again, as its process was lost"):
        found = compared(plan, tmp_path / "ray", engine)
    local = compared(plan, tmp_path / "local")
    assert kept(tmp_path / "ray") == kept(tmp_path / "local")
    assert answers_alone(found.table) == answers_alone(local.table)
    wait_for(lambda: not workers())


def test_a_cell_that_ends_its_process_every_time_is_named(
    cluster: Any, make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(["zero-shot"], seeds=[1])
    monkeypatch.setattr(Cell, "__reduce__", lambda self: (os._exit, (1,)), raising=False)
    with (
        pytest.warns(EdgeLorahubWarning, match="measured again"),
        pytest.raises(ClusterError, match=r"task .*, seed 1, plain model: .* was lost 3 times"),
    ):
        compared(plan, tmp_path / "run", RayEngine(SMALL, 1, 1, cluster.address))


def test_errors_are_named_as_locally(cluster: Any, make_plan: MakePlan, tmp_path: Path) -> None:
    address = cluster.address
    plan = make_plan(["zero-shot"], seeds=[1])
    other = replace(plan, versions={**plan.versions, "numpy": "0.1"})
    with pytest.raises(SettingsError, match=r"node .*: numpy .* is installed there, and 0\.1 here"):
        compared(other, tmp_path / "versions", RayEngine(SMALL, 1, None, address))
    with pytest.raises(ClusterError, match="no room for a process of 3 processors"):
        compared(plan, tmp_path / "large", RayEngine(SMALL, 3, None, address))
    with pytest.raises(ClusterError, match="nodes have at most 1 processors and 2147 MB"):
        compared(plan, tmp_path / "large", RayEngine(8 << 30, 1, None, address))


def test_a_command_that_is_killed_leaves_no_worker_and_goes_on(
    cluster: Any, run: Callable[..., Said], bundle: Path, data: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = [
        "compare", bundle, data, "--modules", module_folders[0].parent, *SHORT, "--engine", "ray", "--address",
        cluster.address, "--out", out,
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_lorahub", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wait_for(lambda: len(list((out / "cells").glob("*.json"))) >= 3)
    process.kill()
    process.communicate()
    wait_for(lambda: not workers())
    before = kept(out)
    assert 3 <= len(before) < 24
    said = run(*arguments)
    assert said.exit_code == 0, said.output
    assert f"{len(before)} of 24 cells known" in said.stderr
    assert before.items() <= kept(out).items()


def test_what_cannot_be_is_one_line(fails: Callable[..., str], bundle: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["compare", bundle, data, "--method", "zero-shot", "--out", tmp_path / "run"]
    ray = [*arguments, "--engine", "ray"]
    assert "give --engine ray too" in fails(*arguments, "--address", "auto")
    assert "--memory-limit is for --engine local" in fails(*ray, "--memory-limit", "4GB")
    assert "a client outside of the cluster" in fails(*ray, "--address", "ray://head:10001")
    assert "no Ray cluster 'nowhere'" in fails(*ray, "--address", "nowhere")
