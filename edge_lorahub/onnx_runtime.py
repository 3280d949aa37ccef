"""The one place that imports onnxruntime: `ort`."""

from __future__ import annotations

import os

# onnxruntime reports usage to its maker by default where it was built to; a runtime for people's own machines
# does not. Read when the library is loaded, so it comes before the import; a user's own setting goes first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

__all__ = ["ort"]
