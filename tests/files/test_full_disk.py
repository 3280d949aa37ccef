"""A disk that is full, at any moment of any command that writes: one line, exit code 2, and the older output whole."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

Command = Callable[[Path], tuple[object, ...]]
# What is left free, as a share of what the output takes.
SHARES = (0.0, 0.02, 0.3, 0.6, 0.97)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory, of 4 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.fixture(params=["export", "adapt", "bake", "predictions"])
def command(
    request: pytest.FixtureRequest, checkpoint: Path, bundle: Path, module_folders: list[Path], examples_file: Path
) -> Command:
    """The arguments by which a command writes an output over an older one."""
    module = module_folders[0]
    commands: dict[str, Command] = {
        "export": lambda out: ("export", checkpoint, out, "--force"),
        "adapt": lambda out: ("adapt", bundle, examples_file, "-m", module, "--budget", 2, "--out", out, "--force"),
        "bake": lambda out: ("bake", bundle, module, out, "--force"),
        "predictions": lambda out: ("evaluate", bundle, examples_file, "--predictions", out),
    }
    return commands[request.param]


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else path.iterdir()
    return {file.name: file.read_bytes() for file in files}


def check_line(stderr: str, code: int, out: Path, reason: str) -> None:
    """One line of error, beside what a search shows of itself; the same for the output's name and reason."""
    lines = [line for line in stderr.splitlines() if line.startswith("Error")]
    assert code == 2, stderr
    assert "Traceback" not in stderr
    assert len(lines) == 1
    assert lines[0].startswith(f"Error: {out}: could not be written ({reason}); nothing was changed;")


def test_a_full_disk(
    run: Callable[..., Result], command: Command, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where weights are kept that have no other place
    out, filler = disk / "out", disk / "filler"
    empty = shutil.disk_usage(disk).free
    assert run(*command(out)).exit_code == 0
    before = contents(out)
    taken = empty - shutil.disk_usage(disk).free
    for share in SHARES:
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - int(share * taken)))
        result = run(*command(out))
        check_line(result.stderr, result.exit_code, out, "No space left on device")
        assert contents(out) == before
        assert not list(disk.glob(".*"))
        filler.unlink()
    assert run(*command(out)).exit_code == 0
    assert [path.name for path in disk.iterdir()] == ["out"]


def test_a_file_size_limit(run: Callable[..., Result], command: Command, tmp_path: Path) -> None:
    """As `ulimit -f` sets it. In a process of its own, which it is for."""
    folder = tmp_path / "folder"
    out = folder / "out"
    assert run(*command(out)).exit_code == 0
    before = contents(out)
    size = max(map(len, before.values()))
    ended = subprocess.run(
        [sys.executable, "-m", "edge_lorahub", *map(str, command(out))],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, size - 1)),
    )
    check_line(ended.stderr, ended.returncode, out, "File too large")
    assert contents(out) == before
    assert not list(folder.glob(".*"))
