"""The example program runs as its docstring says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "adapt.py"


def test_it_runs(bundle: Path, examples_file: Path, module_folders: list[Path], tmp_path: Path) -> None:
    more = examples_file.read_text() + '{"input": "w5 w6", "output": "w7"}\n'
    examples_file.write_text(more)
    command = [sys.executable, EXAMPLE, bundle, examples_file, tmp_path / "out", *module_folders]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "module-3" in result.stdout
    assert "exact match on 1 held-out examples" in result.stdout
    assert (tmp_path / "out" / "adapter_config.json").is_file()


def test_its_errors_are_one_line(bundle: Path, examples_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLE, bundle, examples_file, tmp_path / "out", tmp_path / "nothing"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
