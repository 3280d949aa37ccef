"""One line for a lack of memory: about what was needed, what is free, and what to do."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from ..errors import NotEnoughMemoryError

# What a lack of memory is called by ONNX Runtime, whose errors have no class for it, by the system and by Python.
_WORDS = (
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "annot allocate memory",
    "Unable to allocate",
    "failed to map segment",
    "can't start new thread",
)
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50, "EiB": 2**60}
_GRAPH = re.compile(r"requested buffer of size (\d+)")
_NUMPY = re.compile(r"Unable to allocate ([\d.]+) ([KMGTPE]iB)")
ADVICE = (
    "use shorter texts, fewer of them at once (--batch-size; adapt: --memory-limit), fewer modules, or a bundle in int8"
)


def is_shortage(error: BaseException) -> bool:
    """Whether an error is a lack of memory, whoever raised it."""
    return isinstance(error, MemoryError) or any(word in str(error) for word in _WORDS)


def shortage(
    what: str, advice: str, *, needs: int | None = None, error: BaseException | None = None
) -> NotEnoughMemoryError:
    """The error to raise. needs: bytes, about; None: what `error` says of it, if anything."""
    if needs is None and error is not None:
        needs = _said(str(error))
    need = "not enough memory" if needs is None else f"needs about {_megabytes(needs)} more memory"
    free = free_memory()
    left = "" if free is None else f", and {_megabytes(free)} are free"
    return NotEnoughMemoryError(f"{what}: {need}{left}; {advice}")


def free_memory() -> int | None:
    """The bytes that this process could still take; None where the system does not say."""
    if sys.platform != "linux":
        return None
    import resource

    found = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            found.append(max(0, limit - taken))
    except (OSError, ValueError, IndexError, MemoryError):
        return None
    return min(found, default=None)


def _said(text: str) -> int | None:
    if match := _GRAPH.search(text):
        return int(match[1])
    if match := _NUMPY.search(text):
        return int(float(match[1]) * _UNITS[match[2]])
    return None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
