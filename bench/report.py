"""What a benchmark found: tables, JSON, a chart, and the machine that it was found on."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_lorahub._version import __version__
from edge_lorahub.errors import SettingsError
from edge_lorahub.files.outputs import check_output_file, output_file
from edge_lorahub.machine.processors import cpuinfo, processor_name

Row = dict[str, Any]
# What the products' speed depends on, as Linux names it.
_INSTRUCTIONS = re.compile(
    r"^(avx2|fma|f16c|avx512(f|bw|vl|_vnni|_bf16)|avx_vnni|amx_\w+|asimd(dp|hp)?|sve2?|i8mm|bf16)$"
)


@dataclass
class Report:
    """Facts by name, and tables of rows by title; all rows of a table have the same keys.

    chart names the column, of numbers, that is drawn for a table.
    """

    facts: dict[str, Any]
    tables: dict[str, list[Row]]
    chart: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def is_rows(value: object) -> bool:
    """Whether a value that comes from a file may be a table's rows."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) and row for row in value)


def environment(threads: int, *packages: str) -> dict[str, Any]:
    """The machine, the threads, the versions, and the commit where the sources lie in a repository."""
    names = ("onnxruntime", "numpy", *packages)
    versions = [f"edge-lorahub {__version__}", *(f"{name} {importlib.metadata.version(name)}" for name in names)]
    return {
        "processor": processor_name(),
        "instruction sets": " ".join(instruction_sets()) or "unknown",
        "threads": threads,
        "versions": ", ".join([*versions, f"Python {platform.python_version()}"]),
        "commit": commit() or "unknown",
    }


def instruction_sets() -> list[str]:
    """Those that matter here; none where the system does not tell."""
    flags = cpuinfo("flags") or cpuinfo("Features")
    return sorted(flag for flag in flags.split() if _INSTRUCTIONS.match(flag))


def commit() -> str | None:
    """The commit of the repository in which this file is tracked, with a + where it was changed since."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def percentiles(seconds: Sequence[float], what: str) -> Row:
    """Milliseconds: the median and the 90th and 99th percentile."""
    return {
        f"{what} p{p}, ms": round(float(np.percentile(seconds, p)) * 1e3, 3) for p in (50, 90, 99)
    }  # fmt: skip


def median_ms(seconds: Sequence[float]) -> float:
    return round(float(np.median(seconds)) * 1e3, 3)


def check_chart(path: Path) -> None:
    """Refuses, before anything is measured, a chart that could not be written in the end."""
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise SettingsError(f"{path}: a chart is .svg, .png or .pdf")
    check_output_file(path)
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SettingsError("--chart needs matplotlib: pip install 'edge-lorahub[bench]'") from error


def write_chart(report: Report, path: Path) -> None:
    """A bar for every row of the tables that have a column to draw."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + sum(0.3 * len(report.tables[title]) + 0.9 for title in report.chart)))
    heights = [len(report.tables[title]) + 1 for title in report.chart]
    axes = figure.subplots(len(report.chart), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (title, column) in zip(axes, report.chart.items(), strict=True):
        rows = report.tables[title]
        numbers = {key for key, value in rows[0].items() if isinstance(value, float)}
        labels = [", ".join(str(value) for key, value in row.items() if key not in numbers) for row in rows]
        bars = axis.barh(range(len(rows)), [row[column] for row in rows])
        axis.bar_label(bars, padding=3, fontsize=8)
        axis.set_yticks(range(len(rows)), labels, fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.set_title(f"{title}: {column}", fontsize=9)
    figure.text(0.01, 0.005, f"{report.facts['processor']}, {report.facts['threads']} threads", fontsize=7)
    figure.tight_layout()
    with output_file(path) as work:
        figure.savefig(work, format=path.suffix.removeprefix("."))
