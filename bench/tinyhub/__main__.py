"""``python -m edge_lorahub.bench.tinyhub OUT``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .recipe import make_hub


def main() -> int:
    """Parse the command line and train the hub."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_lorahub.bench.tinyhub", description="Train the embedded hub from nothing."
    )
    parser.add_argument("out", type=Path, help="new or empty folder for base/, modules/ and results.json")
    parser.add_argument("--steps-scale", type=float, default=1.0, help="multiply every number of steps (default: 1)")
    arguments = parser.parse_args()
    if arguments.steps_scale <= 0:
        parser.error(f"--steps-scale is {arguments.steps_scale}; expected a number above 0")
    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        print(f"{arguments.out} is not an empty folder; give a new one", file=sys.stderr)
        return 1
    make_hub(arguments.out, arguments.steps_scale, lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
