"""Cells of a long measurement on disk: what was ended at any moment goes on, to the same table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from edge_lorahub.bench.cells import Cells
from edge_lorahub.bench.quality_table import is_percent
from edge_lorahub.errors import EdgeLorahubError, EdgeLorahubWarning, JournalError, OutputExistsError

FIELDS = ("task", "seed")
SETTINGS = {"model": "tiny", "held out": 200}
VALUES = {("sort", 1): 1 / 3, ("sort", 2): 0.1 + 0.2, ("räume\n", 1): 100.0}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "cells.jsonl"


def opened(path: Path, *, resume: bool = True, settings: dict[str, Any] = SETTINGS) -> Cells:
    return Cells(path, FIELDS, settings, resume=resume, is_value=is_percent)


def filled(path: Path) -> bytes:
    cells = opened(path, resume=False)
    for key, value in VALUES.items():
        cells.record(key, value)
    cells.close()
    return path.read_bytes()


def test_cells_are_read_back_to_the_last_bit(path: Path) -> None:
    data = filled(path)
    cells = opened(path)
    assert {key: cells[key] for key in VALUES} == VALUES
    assert len(cells) == 3
    assert cells.get(("sort", 2), lambda: pytest.fail("measured again")) == 0.1 + 0.2
    assert cells.get(("sort", 3), lambda: 5.0) == 5.0
    cells.close()
    assert path.read_bytes()[: len(data)] == data
    assert json.loads(path.read_bytes().splitlines()[-1]) == {"task": "sort", "seed": 3, "value": 5.0}
    cells.remove()
    assert list(path.parent.iterdir()) == []


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(path: Path) -> None:
    data = filled(path)
    last = data.rindex(b"\n", 0, -1) + 1
    for torn in range(last, len(data)):
        path.write_bytes(data[:torn])
        cells = opened(path)
        assert list(cells._known) == list(VALUES)[:2]
        cells.record(*list(VALUES.items())[2])
        cells.close()
        assert path.read_bytes() == data


@pytest.mark.parametrize(
    "line",
    [b"{", b"[1]", b"null", b'{"task": "sort", "seed": 2}', b'{"task": "sort", "seed": [2], "value": 1.0}',
     b'{"task": "sort", "seed": 2, "value": "1"}', b'{"task": "sort", "seed": 2, "value": NaN}',
     b'{"task": "sort", "seed": 2, "value": 1e400}', b'{"task": "sort", "seed": 2, "value": 1.0, "more": 1}',
     b'{"task": "sort", "seed": 1, "value": 1.0}', b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_a_damaged_line_is_named(path: Path, line: bytes) -> None:
    lines = filled(path).split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], line, *lines[3:]]))
    with pytest.raises(JournalError, match=r"line 3: damaged .*; remove the line, and its cell is measured again"):
        opened(path)


def test_cells_that_are_refused(path: Path) -> None:
    with pytest.raises(JournalError, match="no cells to resume from; leave --resume out"):
        opened(path)
    data = filled(path)
    with pytest.raises(JournalError, match="has cells of an earlier run; --resume goes on with them"):
        opened(path, resume=False)
    with pytest.raises(JournalError, match=r"measured with other settings \(held out, more\)"):
        opened(path, settings={"model": "tiny", "held out": 100, "more": 1})
    with pytest.raises(JournalError, match="measured with other settings"):
        Cells(path, ("seed", "task"), SETTINGS, resume=True)
    first = opened(path)
    with pytest.raises(JournalError, match="another run writes cells there"):
        opened(path)
    first.close()
    assert path.read_bytes() == data
    for content in (
        b"",
        b"my diary\n",
        b'{"name": "x"}\n',
        b'{"name": "edge-lorahub cells", "format": 99}\n',
        data[:50],
    ):
        path.write_bytes(content)
        for resume in (False, True):
            with pytest.raises(JournalError, match="no file of cells of this version; move it away"):
                opened(path, resume=resume)
        assert path.read_bytes() == content
    with pytest.raises(OutputExistsError, match="a folder"):
        opened(path.parent)
    os.mkfifo(path.parent / "pipe")
    with pytest.raises(EdgeLorahubError, match="pipe"):
        opened(path.parent / "pipe")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.filterwarnings("error")
def test_a_measurement_outlives_cells_that_cannot_be_written(path: Path) -> None:
    cells = opened(path, resume=False)
    cells.close()
    cells._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
    with pytest.warns(EdgeLorahubWarning, match="cannot be written any more .No space left on device.") as caught:
        cells.record(("sort", 1), 1.0)
    cells.record(("sort", 2), 2.0)  # without a second one, which would be an error here
    assert len(caught) == 1
    assert cells["sort", 2] == 2.0
    cells.close()


ARGUMENTS = ("bench", "tinyhub", "--part", "dev", "--modules", "clean", "--only", "zero", "--processes", "1")


def test_the_table_is_the_same_after_an_interrupt(
    run: Callable[..., Result], fails: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_lorahub.bench import quality_table

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    counts = iter(range(100))

    class Here:
        """In the place of a pool: measures in this process, what has nothing to do with a model."""

        def __init__(self, *_: object) -> None: ...

        def __enter__(self) -> Here:
            return self

        def __exit__(self, *_: object) -> None: ...

        def imap_unordered(self, work: Callable[[Any], Any], jobs: list[Any]) -> Any:
            for job in reversed(jobs):
                if next(counts) == left:
                    raise KeyboardInterrupt
                yield work(job)

    def value(problem: Any, names: tuple[str, ...]) -> list[float]:
        return [(len(problem.task.name) * 1.7 + problem.seed) % 100 for _ in names]

    monkeypatch.setattr(quality_table.multiprocessing, "get_context", lambda _: type("Context", (), {"Pool": Here}))
    monkeypatch.setattr(quality_table, "measure", value)
    left = 100
    whole = run(*ARGUMENTS, "--seeds", 2)
    assert whole.exit_code == 0, whole.output
    assert not Path("tinyhub.cells.jsonl").exists()
    counts, left = iter(range(100)), 0
    ended = run(*ARGUMENTS, "--seeds", 2)
    assert (ended.exit_code, ended.output) == (130, "")
    assert not Path("tinyhub.cells.jsonl").exists()
    counts, left = iter(range(100)), 7
    ended = run(*ARGUMENTS, "--seeds", 2)
    assert ended.exit_code == 130
    assert ended.stderr.splitlines()[-1] == (
        "ended with 7 cells measured, which tinyhub.cells.jsonl keeps: the same command with --resume goes on"
    )
    assert "has cells of an earlier run" in fails(*ARGUMENTS)
    monkeypatch.setattr(quality_table, "HELD_OUT", 100)
    assert "measured with other settings (held out)" in fails(*ARGUMENTS, "--resume")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quality_table.multiprocessing, "get_context", lambda _: type("Context", (), {"Pool": Here}))
    monkeypatch.setattr(quality_table, "measure", value)
    counts, left = iter(range(100)), 15
    resumed = run(*ARGUMENTS, "--seeds", 2, "--resume", "--cells", "tinyhub.cells.jsonl")
    assert resumed.stderr == "resumed: 7 cells known\n"
    assert resumed.stdout == whole.stdout
    # and with more seeds only those are measured
    counts, left = iter(range(100)), 11
    assert run(*ARGUMENTS, "--seeds", 3, "--resume", "--cells", "tinyhub.cells.jsonl").exit_code == 0
    assert len(Path("tinyhub.cells.jsonl").read_text().splitlines()) == 1 + 33


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_measurement_that_was_ended_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    """Real processes, one of which is ended as soon as it has a few cells."""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "edge_lorahub", *ARGUMENTS, "--seeds", "1", "--json", "--cells"]
    options: dict[str, Any] = {"env": environment, "cwd": Path(__file__).parents[2], "text": True}
    whole = subprocess.run([*command, tmp_path / "whole"], **options, capture_output=True, check=True)
    path = tmp_path / "cells.jsonl"
    with subprocess.Popen(
        [*command, path], **options, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, restore_signals=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        while process.poll() is None and not (path.exists() and path.read_bytes().count(b"\n") > 3):
            time.sleep(0.001)
        process.send_signal(number)
        _, said = process.communicate()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert said.splitlines()[-1].endswith(f"which {path} keeps: the same command with --resume goes on")
    resumed = subprocess.run([*command, path, "--resume"], **options, capture_output=True, check=True)
    assert json.loads(resumed.stdout) == json.loads(whole.stdout)


def test_latency_goes_on_by_threads(
    run: Callable[..., Result], fails: Callable[..., str], bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_lorahub.bench import latency

    monkeypatch.chdir(tmp_path)
    arguments = ("bench", "latency", bundle, "--length", 5, "--batch-size", 1, "--modules", 2, "--rank", 3, "--json",
                 "--threads", 1, "--threads", 2, "--rounds", 1)  # fmt: skip
    measure = latency._measure

    def interrupted(bundle: Path, threads: int, grid: latency.Grid) -> Any:
        if threads == 2:
            raise KeyboardInterrupt
        return measure(bundle, threads, grid)

    monkeypatch.setattr(latency, "_measure", interrupted)
    ended = run(*arguments)
    assert ended.exit_code == 130
    assert "ended with 1 cell measured, which latency.cells.jsonl keeps" in ended.stderr
    assert "other settings (rounds)" in fails(*arguments, "--rounds", 2, "--resume")
    monkeypatch.setattr(latency, "_measure", measure)
    report = json.loads(run(*arguments, "--resume").stdout)
    assert report["facts"]["measured in an earlier run"] == "1 threads"
    assert [row["threads"] for row in report["tables"]["generation"]] == [1, 2]
    assert list(tmp_path.iterdir()) == []
