"""Runs `edge-lorahub demo` and writes what it prints as a picture.

python docs/pictures/demo_picture.py docs/pictures/demo.svg
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

import edge_lorahub

COMMAND = ["edge-lorahub", "demo"]
WIDTH = 100
# rich's picture loads its font from a server; the reader's own will do
NO_WEB_FONTS = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main(out: Path) -> None:
    """Record the demonstration as it is seen in a terminal of WIDTH columns."""
    environment = os.environ | {"COLUMNS": str(WIDTH), "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "edge_lorahub", *COMMAND[1:]]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        sys.exit(done.stderr)
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(f"$ {' '.join(COMMAND)}"))
    # where the package lies on the machine that records the picture is nobody's business
    shown = done.stdout.replace(
        str(Path(edge_lorahub.__file__).parent), ".venv/lib/python3.11/site-packages/edge_lorahub"
    )
    console.print(Text.from_ansi(shown))
    svg = console.export_svg(title=" ".join(COMMAND), code_format=NO_WEB_FONTS, unique_id="demo")
    out.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
