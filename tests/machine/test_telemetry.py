"""onnxruntime's usage reports are off before it is imported, from wherever that is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_lorahub import bench, export
from edge_lorahub.machine import onnx_runtime


def test_one_place_imports_it() -> None:
    roots = [Path(package.__file__).parent for package in (onnx_runtime, export, bench)]
    found = [
        path.name
        for root in roots
        for path in root.rglob("*.py")
        if "import onnxruntime" in path.read_text(encoding="utf-8")
    ]
    assert found == ["onnx_runtime.py"]


@pytest.mark.parametrize(
    "module", ["runtime.binding", "runtime.session", "runtime.generation", "bench.roofline", "bench.operators"]
)
def test_nothing_is_written_to_the_home(module: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    command = f"import os, edge_lorahub.{module}; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", command], env=environment | {"HOME": str(tmp_path)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "1"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
