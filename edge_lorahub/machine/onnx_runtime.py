"""The one place that imports onnxruntime: `ort`."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

# onnxruntime reports usage to its maker by default where it was built to; a runtime for people's own machines
# does not. Read when the library is loaded, so it comes before the import; a user's own setting goes first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

__all__ = ["int8_is_wrong", "ort", "version_of"]

# The first version whose products of whole numbers were right on processors with AMX, by our tests; 1.23.2 and 1.24.1
# gave other numbers at every run.
_RIGHT_WITH_AMX = (1, 25)


def version_of(text: str) -> tuple[int, int]:
    """The first two numbers of a version, which two versions are compared by."""
    major, minor, *_ = (*(int(part) for part in text.split(".")[:2] if part.isdigit()), 0, 0)
    return major, minor


@cache
def int8_is_wrong() -> bool:
    """Whether this onnxruntime computes int8 wrongly on this processor, as far as is known."""
    if version_of(ort.__version__) >= _RIGHT_WITH_AMX:
        return False
    try:
        return "amx_int8" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
