"""Where memory is short: one line with what is needed, what is free and what to do, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_lorahub.machine.shortage import free_memory, is_shortage, shortage

_RUN = """
import resource, sys
limit = int(sys.argv[1]) * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.argv = ["edge-lorahub", *sys.argv[2:]]
from edge_lorahub.cli.main import main
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as on Linux")
@pytest.mark.parametrize("megabytes", [250, 350, 500])
def test_a_limit_of_memory(
    bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path, megabytes: int
) -> None:
    for arguments in (
        ("generate", bundle, "w3 " * 1500, "--threads", "1"),
        ("adapt", bundle, examples_file, "--module", module_folders[0], "--out", tmp_path / "out", "--budget", "6",
         "--threads", "2"),
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(megabytes), *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        lines = [line for line in done.stderr.splitlines() if line.startswith("Error")]
        if "OpenBLAS error: Memory allocation" in done.stderr:
            continue  # NumPy's library ends the process itself, with that one line
        assert done.returncode in (0, 2), done.stderr[-1500:]
        assert "Traceback" not in done.stderr
        assert "export the bundle again" not in done.stderr
        if done.returncode:
            assert len(lines) == 1, done.stderr
            assert "memory" in lines[0]


def test_what_is_a_lack_of_memory() -> None:
    assert is_shortage(MemoryError())
    assert is_shortage(RuntimeError("[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc"))
    assert not is_shortage(RuntimeError("another"))
    line = str(shortage("x", "do this", error=MemoryError("Unable to allocate 2.00 GiB for an array with shape (1,)")))
    assert line.startswith("x: needs about 2,147 MB more memory")
    assert line.endswith("; do this")
    assert str(shortage("x", "do this", needs=5_000_000)).startswith("x: needs about 5 MB more memory")
    free = free_memory()
    assert free is None or free > 0
