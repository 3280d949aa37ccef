"""The memory limit: what is chosen, and that it is about what is taken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from edge_lorahub import Example, Modules, Settings
from edge_lorahub.cli.options import MemorySize
from edge_lorahub.errors import SettingsError
from edge_lorahub.export import export
from edge_lorahub.learning.memory import Plan, plan
from edge_lorahub.runtime.opened import OpenBundle
from edge_lorahub.testing.random_models import write_checkpoint, write_module

# by which an estimate is above what is counted
MARGIN = 1.13
# 30 texts of about 120 tokens: several batches
LONG = [Example(" ".join(f"w{5 + (i + j) % 120}" for j in range(120)), f"w{i + 5}") for i in range(30)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """flan-t5-small's dimensions in int8, with modules."""
    home = tmp_path_factory.mktemp("small")
    checkpoint = write_checkpoint(home / "checkpoint", "flan-t5-small")
    export(checkpoint, home / "bundle", precision="int8")
    modules = [write_module(home / "modules" / f"m{i}", "flan-t5-small", seed=i, rank=8) for i in range(8)]
    return home / "bundle", modules


def planned(small: tuple[Path, list[Path]], limit: int, composition: str = "exact") -> Plan:
    settings = Settings(composition=composition, budget=8)
    return plan(OpenBundle(small[0]), list(Modules.load(small[1])), LONG, settings, 2, limit)


def test_a_lower_limit_takes_less_and_more_time(small: tuple[Path, list[Path]]) -> None:
    free = planned(small, 10**12)
    assert free.workers == 2
    assert free.batch_tokens == Settings().batch_tokens
    seen = [free]
    while True:
        try:
            seen.append(planned(small, seen[-1].bytes - 1))
        except SettingsError:
            break
    least = min(found.bytes for found in seen)
    with pytest.raises(SettingsError, match=f"about {least / 1e6:.0f} MB at least; use fewer modules"):
        planned(small, least - 1)
    assert len(seen) > 2
    assert [found.bytes for found in seen] == sorted({found.bytes for found in seen}, reverse=True)
    assert seen[-1].workers == 1
    assert seen[-1].batches == len(LONG)


def test_more_modules_take_more(small: tuple[Path, list[Path]]) -> None:
    paper = planned(small, 10**12, "paper").bytes
    settings = Settings(composition="paper", budget=8)
    fewer = plan(OpenBundle(small[0]), list(Modules.load(small[1][:2])), LONG, settings, 2, 10**12)
    # six modules of 48 slots' A (8, d_in) and B (d_out, 8) in int8 less; width: 512 and 384
    assert paper - fewer.bytes == pytest.approx(6 * 48 * 8 * (512 + 384) * MARGIN, rel=0.01)


def test_nevergrad_counts_where_the_adapter_is_largest(small: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """Its modules stay imported when the model has gone."""
    wide = [write_module(tmp_path / f"m{i}", "flan-t5-small", seed=i, rank=400) for i in range(4)]
    modules = list(Modules.load(wide))
    joined = 4 * 48 * 400 * (512 + 384) * 4
    cma, other = (
        plan(OpenBundle(small[0]), modules, LONG[:1], Settings(optimizer=optimizer), 1, 10**12).bytes
        for optimizer in ("cma", "nevergrad:DE")
    )
    assert cma == pytest.approx(MARGIN * (110e6 + joined), rel=0.01)
    assert other - cma == pytest.approx(MARGIN * 150e6, rel=0.01)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory as Linux counts it")
def test_the_estimate_is_about_what_a_process_takes(small: tuple[Path, list[Path]], tmp_path: Path) -> None:
    bundle, modules = small
    examples = tmp_path / "long.jsonl"
    examples.write_text("".join(json.dumps({"input": e.input, "output": e.output}) + "\n" for e in LONG))
    free = planned(small, 10**12)
    limit = (free.bytes + planned(small, free.bytes - 1).bytes) // 2
    command = [sys.executable, "-m", "edge_lorahub", "adapt", str(bundle), str(examples), "--modules",
               str(modules[0].parent), "--out", str(tmp_path / "out"), "--budget", "8", "--limit", "30",
               "--threads", "2",
               "--memory-limit", f"{limit / 1e6:.3f}MB"]  # fmt: skip
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    peak = int(
        subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True).stdout
    )
    assert 0.6 * limit < peak * 1024 < limit
    settings = json.loads((tmp_path / "out" / "edge_lorahub.json").read_text())["settings"]
    assert settings["batch_tokens"] == planned(small, limit).batch_tokens


@pytest.mark.parametrize(
    ("text", "size"), [("800MB", 800_000_000), ("1.5 gb", 1_500_000_000), ("1GiB", 2**30), ("0.5MiB", 2**19)]
)
def test_sizes(text: str, size: int) -> None:
    assert MemorySize().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["800", "lots", "-1GB", "1TB", "", "1e3MB"])
def test_what_is_no_size(text: str, bundle: Path, examples_file: Path, run: Callable[..., Result]) -> None:
    result = run("adapt", bundle, examples_file, "--out", "x", "--module", "m", f"--memory-limit={text}")
    assert result.exit_code == 2
    assert "is not a size; write 800MB or 1.5GB" in result.output


def test_a_limit_that_is_too_low_leaves_nothing(
    bundle: Path, examples_file: Path, module_folders: list[Path], fails: Callable[..., str], tmp_path: Path
) -> None:
    arguments = ["adapt", bundle, examples_file, "--out", tmp_path / "out", "--module", module_folders[0]]
    line = fails(*arguments, "--memory-limit", "20MB")
    assert "a memory limit of 20 MB is too low: this adaptation takes about" in line
    assert not (tmp_path / "out").exists()
