"""Hostile inputs on the command line: exit code 2, one line, nothing written, within bounds of memory and time.

The default run takes a few of them. EDGE_LORAHUB_HOSTILE=200 takes so many (five minutes), and a larger number all.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
from hostile import CASES, Case, copy_sound
from targets import write_corpus

COUNT = int(os.environ.get("EDGE_LORAHUB_HOSTILE", "12"))
CHOSEN = random.Random(0).sample(CASES, min(COUNT, len(CASES)))
# As the fuzzer's limits: beside what is imported, 500 MB and four times the largest input (15 MB).
RUN = """
import resource, sys
import numpy, onnxruntime, tokenizers, safetensors, rich.console, edge_lorahub
with open("/proc/self/statm") as file:
    limit = int(file.read().split()[0]) * resource.getpagesize() + 580_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.argv[0] = "edge-lorahub"
from edge_lorahub.cli.start import main
main()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory, and devices, as on Linux")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def snapshot(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def test_there_are_enough() -> None:
    assert len(CASES) >= 200
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_a_hostile_input_is_one_line_and_exit_code_2(case: Case, corpus: Path, cache: Path, tmp_path: Path) -> None:
    work = copy_sound(corpus, tmp_path / "work")
    arguments = [os.fsencode(str(argument)) for argument in case.make(work)]
    before = snapshot(work)
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "HF_HUB_OFFLINE": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60, env=environment, cwd=tmp_path,
        start_new_session=True,  # without a terminal
    )  # fmt: skip
    said = done.stderr.decode()
    lines = [line for line in said.splitlines() if not line.startswith("Warning: ")]
    assert done.returncode == 2, (done.returncode, said[-2000:], done.stdout[-500:])
    assert len(lines) == 1, said[-2000:]
    assert lines[0].startswith("Error: ")
    assert len(lines[0]) > len("Error: ") + 10
    assert all(character.isprintable() or character == "\n" for character in said), repr(said)
    assert done.stdout == b""
    assert snapshot(work) == before
