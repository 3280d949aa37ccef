"""Runs a piece of Python in a process of its own, with as much memory and time as a small file may take."""

from __future__ import annotations

import subprocess
import sys

import pytest

_START = """
import resource, sys, time
from pathlib import Path
import numpy, onnxruntime, tokenizers, safetensors
import edge_lorahub, edge_lorahub.tokenizer.tokenizer_file, edge_lorahub.tensors.torch_zip
from edge_lorahub.errors import EdgeLorahubError
with open("/proc/self/statm") as file:
    start = int(file.read().split()[0]) * resource.getpagesize()
limit = start + int(sys.argv[1]) * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
path = Path(sys.argv[2])
try:
    {code}
except EdgeLorahubError as error:
    print("refused:", error)
else:
    print("read")
"""


def bounded(code: str, path: object, *, megabytes: int = 400, seconds: float = 20) -> str:
    """What a statement, with `path` and the package in its scope, ends with: "read", or "refused: " and the line.

    Fails where it ends otherwise: by a lack of memory, another exception or the time.
    """
    if sys.platform != "linux":
        pytest.skip("limits of memory as on Linux")
    done = subprocess.run(
        [sys.executable, "-c", _START.format(code=code), str(megabytes), str(path)],
        capture_output=True, text=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()
