"""Conversions that are killed: under the output's name is the older one or the new one, whole, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_lorahub.convert.converted_folder import RECORD
from edge_lorahub.files.outputs import sha256

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


def files_of(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.iterdir()}


def command(module: Path, form: str, out: Path, options: tuple[object, ...]) -> list[str]:
    arguments = ("convert", module, "--to", form, "--out", out, *options)
    return [sys.executable, "-m", "edge_lorahub", *map(str, arguments)]


@pytest.mark.parametrize("form", ["checkpoint", "peft", "onnx-adapter", "bundle"])
def test_a_conversion_that_is_killed(
    form: str, checkpoint: Path, bundle: Path, module_folders: list[Path], tmp_path: Path
) -> None:
    """At random moments, anew and over an older output. EDGE_LORAHUB_KILLS=100 kills so many; by default two."""
    rng = np.random.default_rng(len(form))
    kills = 1 + int(os.environ.get("EDGE_LORAHUB_KILLS", "1"))
    options: dict[str, tuple[object, ...]] = {
        "checkpoint": ("--base", checkpoint), "peft": (), "onnx-adapter": ("--bundle", bundle),
        "bundle": ("--bundle", bundle),
    }  # fmt: skip
    out, wholes = tmp_path / "here" / "out", []
    out.parent.mkdir()
    started = time.monotonic()
    for number in range(2):
        whole = tmp_path / str(number)
        subprocess.run(command(module_folders[number], form, whole, options[form]), check=True, capture_output=True)
        wholes.append(files_of(whole))
    longest, killed, moments = (time.monotonic() - started) / 2, 0, []
    for attempt in range(20 * kills):
        before = files_of(out) if out.exists() else None
        force = ("--force",) if before else ()
        arguments = command(module_folders[attempt % 2], form, out, (*options[form], *force))
        # the first half of the time is Python's and its libraries'
        moment = float(rng.uniform(0.3, 1.05)) * longest
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            time.sleep(moment)
            process.kill()
            process.communicate()
        now = files_of(out) if out.exists() else None
        assert now in (before, *wholes), "half an output under the name"
        if before is not None:
            assert now is not None, "an older output was lost"
        if process.returncode:
            killed += 1
            moments.append(now == before)
        if attempt % 3 == 2:
            shutil.rmtree(out, ignore_errors=True)
        if killed == kills:
            break
    assert killed == kills
    print(f"[measured] {form}: {killed} killed, {moments.count(False)} of them after the output was there")
    final = command(module_folders[0], form, out, (*options[form], *(("--force",) if out.exists() else ())))
    subprocess.run(final, check=True, capture_output=True)
    assert files_of(out) == wholes[0]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    if form != "bundle":
        assert json.loads((out / RECORD).read_text())["form"] == form
