"""Draws the rooms by floor, from the plan that the tests check.

python docs/pictures/rooms_picture.py docs/pictures/rooms.svg
"""

from __future__ import annotations

import sys
from html import escape
from importlib import util
from pathlib import Path

PLAN = Path(__file__).parents[2] / "tests" / "project" / "test_rooms.py"
WIDTH, FLOOR, ROOM, GAP = 860, 64, 132, 12
STYLE = """
  text { font: 13px sans-serif; fill: #222; } .small { font-size: 11px; fill: #666; }
  rect { fill: #eef3fa; stroke: #7a93b8; } .own { fill: #fdf3e3; stroke: #c0965a; }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd; } .small { fill: #999; } rect { fill: #223044; } .own { fill: #3a2f1c; }
  }
"""


def main(out: Path) -> None:
    """Floors from the top down; an import goes from a room to one below it. Orange: the exporter and the benchmarks."""
    spec = util.spec_from_file_location("plan", PLAN)
    assert spec
    assert spec.loader
    plan = util.module_from_spec(spec)
    spec.loader.exec_module(plan)
    counts: dict[str, int] = {}
    for module in plan.modules():
        counts[plan.room_of(module)] = counts.get(plan.room_of(module), 0) + 1
    rows = [sorted(room for room in floor if room != "__main__") for floor in reversed(plan.FLOORS)]
    rows = [row for row in rows if row]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {FLOOR * len(rows) + GAP}" role="img">',
        "<title>The rooms of edge-lorahub by floor</title>",
        f"<style>{STYLE}</style>",
    ]
    for floor, row in enumerate(rows):
        left = (WIDTH - len(row) * (ROOM + GAP) + GAP) / 2
        for place, room in enumerate(row):
            x, y = left + place * (ROOM + GAP), GAP + floor * FLOOR
            own = ' class="own"' if room.split(".")[0] in plan.OPTIONAL else ""
            files = f"{counts[room]} file{'s' if counts[room] > 1 else ''}"
            name = "edge_lorahub/__init__" if room == "edge_lorahub" else room
            lines += [
                f'<rect{own} x="{x:g}" y="{y:g}" width="{ROOM}" height="{FLOOR - 2 * GAP}" rx="5"/>',
                f'<text x="{x + ROOM / 2:g}" y="{y + 17:g}" text-anchor="middle">{escape(name)}</text>',
                f'<text class="small" x="{x + ROOM / 2:g}" y="{y + 32:g}" text-anchor="middle">{files}</text>',
            ]
    out.write_text("\n".join([*lines, "</svg>", ""]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
