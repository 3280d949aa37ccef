"""What runs leave that are killed, and what the next run makes of it: SIGKILL at each side of every system call."""

from __future__ import annotations

import hashlib
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

from edge_lorahub.composition.record_file import SIDECAR
from edge_lorahub.errors import OutputExistsError
from edge_lorahub.files import work_folder
from edge_lorahub.files.locks import machine
from edge_lorahub.files.outputs import check_output_folder, output_file, output_folder
from edge_lorahub.files.work_folder import tidy

NAMES = (SIDECAR, "marker")


def sidecar(marker: str) -> str:
    """What tells an output with that marker from other folders."""
    return json.dumps(
        {"made_by": "edge-lorahub 0.2.0", "sha256": {"marker": hashlib.sha256(marker.encode()).hexdigest()}}
    )


OLD, NEW = {SIDECAR: sidecar("old"), "marker": "old"}, {SIDECAR: sidecar("new"), "marker": "new"}
# Every call by which a work folder changes what is on the disk.
CALLS = ("mkdir", "open", "write", "fsync", "replace", "unlink", "rmdir", "close")


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def write(out: Path, *, force: bool) -> None:
    with output_folder(out, force=force, names=NAMES) as work:
        fill(work, NEW)


def contents(folder: Path) -> dict[str, str] | None:
    return {path.name: path.read_text() for path in folder.iterdir()} if folder.exists() else None


def die_at(step: int) -> None:
    """Ends this process at a step, of which every call has one before and one after it."""
    steps = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal steps
            for part in range(2):
                if part:
                    result = real(*arguments, **named)
                steps += 1
                if steps == step:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    work_folder.exchange = counted(work_folder.exchange)  # type: ignore[attr-defined]


def kill_everywhere(parent: Path, way: str, before: dict[str, str] | None, *, force: bool) -> None:
    """Forks a writer for every step; a process of its own, so that no threads are lost by it."""
    out = parent / "out"
    if way != "exchange":
        work_folder.exchange = lambda first, second: False  # type: ignore[attr-defined]
    for step in range(1, 1000):
        if before is not None:
            out.mkdir()
            fill(out, before)
        child = os.fork()
        if not child:
            die_at(step)
            write(out, force=force)
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        if way == "exchange":
            assert contents(out) in (before, NEW), (step, contents(out))
        tidy(parent)
        assert contents(out) in (before, NEW), (step, contents(out))
        assert [path.name for path in parent.iterdir()] == ["out"][: out.exists()], step
        if not killed:
            assert contents(out) == NEW
            print(step - 1)
            return
        for name in contents(out) or ():
            (out / name).unlink()
        if out.exists():
            out.rmdir()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_a_kill_at_any_moment_leaves_an_output_and_nothing_else(tmp_path: Path, way: str, force: bool) -> None:
    run = subprocess.run(
        [sys.executable, __file__, tmp_path, way, "force" if force else ""], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 40  # steps at which it was killed


WRITER = """
import sys
from pathlib import Path
from edge_lorahub.files.outputs import output_folder
with output_folder(Path(sys.argv[1]), force=False, names=("edge_lorahub.json",)) as work:
    (work / "edge_lorahub.json").write_text("half")
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_a_living_run_keeps_its_work_folder_even_when_it_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        writer.send_signal(signal.SIGSTOP)
        write(tmp_path / "other", force=False)
        tidy(tmp_path)
        assert len(list(tmp_path.glob(".edge-lorahub-new-*"))) == 1
        writer.kill()
    check_output_folder(tmp_path / "third", force=False, names=NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_runs_of_one_process_leave_each_other_alone(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a", force=False, names=NAMES) as first:
        fill(first, NEW)
        with output_file(tmp_path / "b") as second:
            second.write_text("text")
            tidy(tmp_path)
            assert first.exists()
            assert second.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def dead(parent: Path, files: dict[str, str], **record: object) -> Path:
    """A work folder whose run is dead: of this machine, unless the record says otherwise."""
    path = parent / ".edge-lorahub-new-0123456789ab"
    path.mkdir()
    said = {"made_by": "edge-lorahub 0.1.0", "out": "out", "names": list(NAMES), **machine()}
    (path / "lock").write_text(json.dumps(said | record))
    for name, text in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)
    return path


OTHERS = {"boot": "another", "host": "another"}


def test_another_machines_work_folder_is_kept_for_a_week(tmp_path: Path) -> None:
    """Its locks may not reach here, over a network file system."""
    path = dead(tmp_path, {"output/marker": "half"}, **OTHERS)
    tidy(tmp_path)
    assert path.exists()
    long_ago = time.time() - 8 * 24 * 3600
    for each in (path, path / "lock", path / "output", path / "output/marker"):
        os.utime(each, (long_ago, long_ago))
    tidy(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("record", [{"boot": "before"}, {"host": "another container"}])
def test_this_machines_is_removed_after_a_restart_and_from_any_container(
    tmp_path: Path, record: dict[str, str]
) -> None:
    path = dead(tmp_path, {"output/marker": "half"}, **record)
    tidy(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize(
    "record",
    [{"made_by": "somebody"}, {"out": "../out"}, {"out": ".."}, {"out": 3}, {"out": ""}, {"names": "marker"}],
)
def test_what_is_no_record_of_ours_is_not_touched(tmp_path: Path, record: dict[str, object]) -> None:
    path = dead(tmp_path, {"output/marker": "mine"}, **record)
    tidy(tmp_path)
    assert (path / "output/marker").read_text() == "mine"


@pytest.mark.parametrize("lock", ["", "{", "[]", "null", "[" * 100_000])
def test_a_lock_that_says_nothing_guards_what_is_beside_it(tmp_path: Path, lock: str) -> None:
    path = dead(tmp_path, {"output/marker": "mine"})
    (path / "lock").write_text(lock)
    tidy(tmp_path)
    assert (path / "output/marker").read_text() == "mine"
    (path / "output/marker").unlink()
    (path / "output").rmdir()
    tidy(tmp_path)
    assert not path.exists()


def test_other_peoples_things_of_such_a_name_are_not_touched(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    fill(mine, {"lock": (dead(tmp_path, {}) / "lock").read_text(), "thesis": "mine"})
    (tmp_path / ".edge-lorahub-new-00000000000a").symlink_to(mine)
    (tmp_path / ".edge-lorahub-new-00000000000b").write_text("mine")
    (tmp_path / ".edge-lorahub-new-mine").mkdir()
    (tmp_path / ".edge-lorahub-new-mine/thesis").write_text("mine")
    (tmp_path / ".edge-lorahub-new-00000000000c").mkdir()
    (tmp_path / ".edge-lorahub-new-00000000000c/thesis").write_text("mine")
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".edge-lorahub-new-00000000000a", ".edge-lorahub-new-00000000000b", ".edge-lorahub-new-00000000000c",
        ".edge-lorahub-new-mine", "mine",
    ]  # fmt: skip
    assert (mine / "thesis").read_text() == "mine"


def test_what_somebody_wrote_into_a_replaced_output_is_kept(tmp_path: Path) -> None:
    """As from a shell whose current folder it is, after its run was killed."""
    path = dead(tmp_path, {"ready": "1", "output/marker": "old", "output/notes.txt": "mine"})
    tidy(tmp_path)
    assert (path / "output/notes.txt").read_text() == "mine"
    (path / "output/notes.txt").unlink()
    tidy(tmp_path)
    assert not path.exists()


def test_an_output_that_the_user_removed_does_not_come_back(tmp_path: Path) -> None:
    dead(tmp_path, {"ready": "1", "output/marker": "old"})
    tidy(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_both_are_kept_where_another_has_taken_the_name_between_the_renames(tmp_path: Path) -> None:
    path = dead(tmp_path, {"output/marker": "new", "old/marker": "old"})
    (path / "ready").write_text(str((path / "output").stat().st_ino))
    (tmp_path / "out").mkdir()
    tidy(tmp_path)
    assert contents(path / "output") == {"marker": "new"}
    assert contents(path / "old") == {"marker": "old"}
    (tmp_path / "out").rmdir()
    tidy(tmp_path)
    assert contents(tmp_path / "out") == {"marker": "new"}
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("ready", ["", "1"])
def test_the_old_output_comes_back_where_the_new_one_is_not_known_to_be_whole(tmp_path: Path, ready: str) -> None:
    """As after a power failure, or on a file system whose inodes have other numbers when it is mounted again."""
    dead(tmp_path, {"output/marker": "new", "old/marker": "old", "ready": ready})
    tidy(tmp_path)
    assert contents(tmp_path / "out") == {"marker": "old"}
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_an_interrupted_replacement_is_found_before_the_work(tmp_path: Path) -> None:
    """Else the output's name would seem free, and the refusal come in the end."""
    path = dead(tmp_path, {"output/marker": "new", "old/marker": "old"})
    (path / "ready").write_text(str((path / "output").stat().st_ino))
    with pytest.raises(OutputExistsError, match="exists already"):
        check_output_folder(tmp_path / "out", force=False, names=NAMES)


if __name__ == "__main__":
    kill_everywhere(Path(sys.argv[1]), sys.argv[2], OLD if sys.argv[3] else None, force=bool(sys.argv[3]))
