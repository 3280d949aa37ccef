"""Writes the tables of pages in docs/measurements/ from what `bench ... --json` printed, which is kept beside them.

`python docs/scripts/measured_tables.py` fills every table behind a line like this one, up to the next empty line:

    <!-- data/peers-flan-t5-base-xeon.json: a candidate -->
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

MEASUREMENTS = Path(__file__).parents[1] / "measurements"
_TABLE = re.compile(r"<!-- (data/[\w.-]+\.json): (.+) -->\n(?:\|.*\n)*")


def filled(page: str) -> str:
    """A page's text with its tables as the JSON files have them."""
    return _TABLE.sub(lambda found: f"{found[0].splitlines()[0]}\n{_table(found[1], found[2])}", page)


def _table(file: str, name: str) -> str:
    rows = json.loads((MEASUREMENTS / file).read_text(encoding="utf-8"))["tables"][name]
    columns = list(rows[0])
    numbers = [any(isinstance(row[column], (int, float)) for row in rows) for column in columns]
    lines = [
        columns,
        ["---:" if number else "---" for number in numbers],
        *([_cell(row[c]) for c in columns] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    for path in MEASUREMENTS.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        path.write_text(filled(text), encoding="utf-8")


if __name__ == "__main__":
    main()
