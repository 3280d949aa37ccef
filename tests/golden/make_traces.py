"""Makes traces.json: every candidate of searches on the tiny models, to the last bit, for test_golden_traces.py.

    python tests/golden/make_traces.py

Losses to the last bit depend on the processor and on the versions of onnxruntime and numpy, which the file names: the
test compares bits on the same ones, and to six digits elsewhere. It is made anew where a change is meant to change
results, and only then.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from click.testing import CliRunner

from edge_lorahub.cli.main import cli
from edge_lorahub.testing.random_models import write_checkpoint, write_module

SIZES = ("tiny", "tiny-t5", "tiny-mt5")
PRECISIONS = ("fp32", "int8")
SEARCHES = {
    "exact": [],
    "exact, cma alone": ["--no-surrogate"],
    "paper": ["--composition", "paper"],
    "reference": ["--optimizer", "reference"],
    "exact, reference": ["--optimizer", "reference", "--composition", "exact"],
}
BUDGET = 14
FILE = Path(__file__).with_name("traces.json")


def machine() -> dict[str, str]:
    """What the last bits depend on; of the processor what it can do."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("flags")]
        cpu = hashlib.sha256(lines[0].encode()).hexdigest()[:16] if lines else cpu
    return {"cpu": cpu, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__}


def traces(folder: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """For each size, precision and search its trace, of the record that `adapt --json` prints."""
    examples = folder / "examples.jsonl"
    rows = [
        {"input": " ".join(f"w{10 + 3 * i + j}" for j in range(4 + 5 * i)), "output": f"w{20 + i} w{30 + i}"}
        for i in range(5)
    ]
    examples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for size in SIZES:
        checkpoint = write_checkpoint(folder / size, size)
        for i, (rank, alpha) in enumerate([(4, 8), (2, 4), (4, 4), (3, 9)]):
            write_module(folder / f"{size}.modules" / f"m{i}", size, seed=i, rank=rank, alpha=alpha, std=0.1)
        for precision in PRECISIONS:
            bundle = folder / f"{size}.{precision}"
            _run("export", checkpoint, bundle, "--precision", precision)
            for name, options in SEARCHES.items():
                record = _run(
                    "adapt", bundle, examples, "--modules", folder / f"{size}.modules", "--out", folder / "adapter",
                    "--budget", BUDGET, "--threads", 1, "--no-answers", "--json", "--force", *options,
                )  # fmt: skip
                yield f"{size}, {precision}, {name}", json.loads(record)["trace"]


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {"machine": machine(), "traces": dict(traces(Path(folder)))}
    FILE.write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
