"""`edge-lorahub compare` as a user runs it: with processes, killed, interrupted, on a full disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from comparisons import answers_alone, read_results

from edge_lorahub.cli import live

Run = Callable[..., Result]
SHORT = ("--seeds", 2, "--limit", 4, "--budget", 3, "--no-surrogate")


@pytest.fixture
def arguments(bundle: Path, data: Path, module_folders: list[Path]) -> list[object]:
    return ["compare", bundle, data, "--modules", module_folders[0].parent, *SHORT]


def cells(run: Path) -> dict[str, tuple[int, bytes]]:
    """The cells' files, with when they were written."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (run / "cells").glob("[0-9a-f]*.json")}


def results_of(run: Path) -> dict[str, object]:
    """Of each cell what does not depend on time."""
    found = {}
    for name, (_, data) in cells(run).items():
        result = json.loads(data)["result"]
        found[name] = {key: value for key, value in result.items() if key != "seconds"}
    return found


def test_two_processes_give_what_one_gives(run: Run, arguments: list[object], tmp_path: Path) -> None:
    found = []
    for jobs in (1, 2):
        said = run(*arguments, "--jobs", jobs, "--out", tmp_path / f"{jobs}")
        assert said.exit_code == 0, said.output
        assert "Learned weights are " in said.stdout
        assert f"comparison: {tmp_path / str(jobs)}" in said.stdout
        found.append((results_of(tmp_path / f"{jobs}"), answers_alone((tmp_path / f"{jobs}" / "table.md").read_text())))
    assert len(found[0][0]) == 24
    assert found[0] == found[1]


def test_a_run_that_was_killed_goes_on(
    run: Run, arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "edge_lorahub", *map(str, arguments), "--jobs", "2", "--out", str(out)]
    kept: dict[str, tuple[int, bytes]] = {}
    for number in (3, 9):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda number=number: (out / "cells").is_dir() and len(cells(out)) >= number, process)
        process.kill()
        process.wait()
        wait_for(lambda pid=process.pid: not children_of(pid, out))
        now = cells(out)
        assert kept.items() <= now.items()
        kept = now
        assert not (out / "results.json").exists()
    monkeypatch.setattr(live, "QUIET", 0.0)
    said = run(*arguments, "--out", out)
    assert said.exit_code == 0, said.output
    assert f"{len(kept)} of 24 cells known" in said.stderr
    assert "24 of 24 cells measured: " in said.stderr, "where there is no terminal to draw a bar on"
    assert kept.items() <= cells(out).items()
    whole = run(*arguments, "--out", tmp_path / "whole")
    assert whole.exit_code == 0
    assert answers_alone((out / "table.md").read_text()) == answers_alone((tmp_path / "whole" / "table.md").read_text())
    assert results_of(out) == results_of(tmp_path / "whole")


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until
        assert process is None or process.poll() is None
        time.sleep(0.02)


def children_of(pid: int, out: Path) -> list[str]:
    """Processes that a dead one left behind: those that spawn made, whose command line names their parent."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"parent_pid={pid}" in line or f"tracker_fd={pid}" in line:
            found.append(line)
    return found


def test_an_interrupt_ends_it_quietly(arguments: list[object], tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "edge_lorahub", *map(str, arguments), "--jobs", "2", "--out", str(out)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # tests that run in the background of a shell ignore it, and so would their children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(lambda: (out / "cells").is_dir() and len(cells(out)) >= 2, process)
    os.killpg(process.pid, signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == b""
    assert not [line for line in error.splitlines() if b"cells measured: " not in line], "but how far it was"
    assert not (out / "results.json").exists()


def test_a_full_disk_is_one_line_and_cells_stay(arguments: list[object], tmp_path: Path) -> None:
    """A file size limit stands for the disk: run.json has room, a cell has none."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "edge_lorahub", *map(str, arguments), "--jobs", "1", "--out", str(out)]

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    said = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert said.returncode == 2
    lines = [line for line in said.stderr.splitlines() if line.startswith("Error")]
    assert len(lines) == 1
    assert "could not be written" in lines[0]
    assert "Traceback" not in said.stderr
    assert not (out / "results.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--examples", 10], "no input is left to answer beside 10 examples"),
        (["--examples", 11], "of which 11 examples cannot be drawn"),
        (["--metric", "f1"], "metric 'f1' is unknown"),
        (["--optimizer", "adam"], "optimizer 'adam' is unknown"),
        (["--optimizer", "cma", "--optimizer", "nevergrad:Nope"], "nevergrad has no optimizer 'Nope'"),
        (["--tag", "x"], "give --hub too"),
        (["--memory-limit", "1MB"], "a memory limit of 1 MB is too low"),
        (["--method", "zero-shot"], "no method that was asked for needs modules; leave --modules out"),
        (["--method", "uniform"], "no method that was asked for searches; leave --surrogate, --budget out"),
        (["--optimizer", "reference", "--no-surrogate"], "--no-surrogate is for --optimizer cma alone"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(
    fails: Callable[..., str], arguments: list[object], tmp_path: Path, change: list[object], said: str
) -> None:
    assert said in fails(*arguments, *change, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_modules_prompts_are_compared(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    said = run(
        "compare", bundle, data / "first.jsonl", "--method", "few-shot", "--method", "zero-shot", "--seeds", 1,
        "--limit", 2, "--json", "--out", tmp_path / "run",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout) == read_results(tmp_path / "run")
    assert [method["id"] for method in json.loads(said.stdout)["methods"]] == ["zero-shot", "few-shot"]


def test_the_embedded_hub_shows_what_composing_gains(run: Run, tmp_path: Path) -> None:
    """On a task that no module was trained on: right answers where nothing simpler has any."""
    from edge_lorahub.cli.demo_bundle import base_bundle
    from edge_lorahub.tinyhub import DEV_TASKS, examples
    from edge_lorahub.tinyhub.hub import module_parents

    task = next(task for task in DEV_TASKS if task.name == "last-none-json")
    rows = [{"input": one, "output": other} for one, other in examples(task.task, 40, 1)]
    (tmp_path / f"{task.name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = run(
        "compare", base_bundle(), tmp_path / f"{task.name}.jsonl", "--modules", *module_parents("clean"),
        "--seeds", 1, "--limit", 25, "--count", 24, "--out", tmp_path / "run",
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    means = {one["method"]: one["mean_percent"] for one in read_results(tmp_path / "run")["summary"]}
    assert means["learned:cma"] > 50
    assert max(mean for method, mean in means.items() if method != "learned:cma") < 20
    assert "better than random modules by" in said.stdout
