"""Draws accuracy against candidates, from the table of measurements/tinyhub.md.

python docs/pictures/search_picture.py docs/pictures/search.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

METHODS = {
    "surrogate": ("the default", "-o"),
    "reference": ("released code's search", "--s"),
    "CMA-ES": ("CMA-ES alone", ":^"),
}


def main(out: Path) -> None:
    """One panel for each kind of modules, of the test tasks."""
    lines = (Path(__file__).parents[1] / "measurements" / "tinyhub.md").read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("| exact match, %"))
    columns = [cell.strip() for cell in lines[first].strip("|").split("|")]
    plt.rcParams["svg.hashsalt"] = "search"
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
    for panel, kind in zip(panels, ("clean", "entangled", "both"), strict=True):
        column = columns.index(f"test, {kind}")
        for method, (label, style) in METHODS.items():
            points = []
            for line in lines[first + 2 :]:
                cells = [cell.strip() for cell in line.strip("|").split("|")]
                if cells[0].startswith(f"exact, {method}, ") and cells[0].count(",") == 2 and cells[column]:
                    points.append((int(cells[0].rpartition(" ")[2]), float(cells[column])))
                if not line.startswith("|"):
                    break
            if points:
                panel.plot(*zip(*points, strict=True), style, label=label)
        panel.set(title=f"{kind} modules", xlabel="candidates, at most", ylim=(0, 100))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("exact match on other inputs, %")
    panels[0].legend(loc="lower right", fontsize=8)
    figure.savefig(out, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
