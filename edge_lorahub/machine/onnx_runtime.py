"""The one place that imports onnxruntime: `ort`."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

# onnxruntime reports usage to its maker by default where it was built to; a runtime for people's own machines
# does not. Read when the library is loaded, so it comes before the import; a user's own setting goes first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

__all__ = ["int8_is_wrong", "ort"]

# The first version whose products of whole numbers were right on processors with AMX, by our tests; 1.23.2 and 1.24.1
# gave other numbers at every run.
_RIGHT_WITH_AMX = (1, 25)


@cache
def int8_is_wrong() -> bool:
    """Whether this onnxruntime computes int8 wrongly on this processor, as far as is known."""
    version = tuple(int(part) for part in ort.__version__.split(".")[:2] if part.isdigit())
    if version >= _RIGHT_WITH_AMX:
        return False
    try:
        return "amx_int8" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
