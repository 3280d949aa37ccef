"""Mutants of every kind of file: read, or refused by one line, within 5 seconds and 500 MB + 4 times the file.

The default is a few of each kind; `EDGE_LORAHUB_FUZZ=20000` makes that many in all. Mutants are numbered, and a number
gives the same mutant every time: `EDGE_LORAHUB_FUZZ_FIRST` says with which to begin.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from targets import TARGETS, write_corpus  # noqa: E402  # of this folder

MUTANTS = int(os.environ.get("EDGE_LORAHUB_FUZZ", "560"))
FIRST = int(os.environ.get("EDGE_LORAHUB_FUZZ_FIRST", "0"))
SECONDS = 5.0
_PIECE = 0.25  # seconds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as on Linux")


class Worker:
    """A process that reads mutants; started anew where one ended it."""

    def __init__(self, corpus: Path) -> None:
        self._corpus = corpus
        self._process: subprocess.Popen[str] | None = None

    def run(self, name: str, number: int) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "worker.py"), str(self._corpus)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
            assert self._answer(60) == {}
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\t{number}\n")
        self._process.stdin.flush()
        answer = self._answer(4 * SECONDS)
        if answer is None:
            code = self._process.poll()
            self.close()
            return {"end": "hangs" if code is None else f"ended the process with {code}", "seconds": 0.0}
        return answer

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            # in short pieces that are counted, not by the clock: where all processes were paused, the clock went on
            pieces = int(seconds / _PIECE)
            if not any(selector.select(_PIECE) for _ in range(pieces)):
                return None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:  # waits for its end, and closes its pipes
                self._process = None


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    corpus = tmp_path_factory.mktemp("corpus")
    write_corpus(corpus)
    worker = Worker(corpus)
    yield worker
    worker.close()


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_are_read_or_refused(worker: Worker, name: str) -> None:
    count = -(-MUTANTS // len(TARGETS))
    ends: Counter[str] = Counter()
    wrong = []
    slowest = 0.0
    for number in range(FIRST, FIRST + count):
        answer = worker.run(name, number)
        end = answer["end"]
        slowest = max(slowest, answer["seconds"])
        if end in ("read", "refused") and answer["seconds"] > SECONDS:
            end = f"took {answer['seconds']:.1f} s"
        ends[end if end in ("read", "refused") else "wrong"] += 1
        if end not in ("read", "refused"):
            wrong.append(f"mutant {number}: {end[-1500:]}")
    print(f"{name}: {dict(ends)}, slowest {slowest:.2f} s")
    assert not wrong, f"{len(wrong)} of {count}\n" + "\n".join(wrong[:3])
