"""The blocks of pages that can be run: `python docs/scripts/blocks.py docs/tutorial.md docs/how-to/*.md`.

That runs the tutorial's blocks in a folder, one after the other, and the how-tos' each in a copy of that folder. It
writes what they print into the pages; `tests/project/test_docs.py` runs them and compares. A block is fenced as
`console` (commands behind `$ `, and what they print), `sh` or `python`. A comment on the line above it says what else
it is:

- `<!-- not run: why -->`: needs something that is not there, a model of the Hub for example.
- `<!-- varies: why -->`: run, but what it prints is another thing on another machine.
- `<!-- file: name -->`: the contents of a file that later blocks use.

A line `...` in an output stands for any number of lines, and such an output is not written anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)$")
_MARK = re.compile(r"^<!-- (not run|varies|file): (.+) -->$")
_RUN = ("console", "sh", "python")
_COLUMNS = "100"


@dataclass(frozen=True)
class Command:
    """What is given to a shell, and the output that the page shows; None: the page shows none."""

    text: str
    shown: str | None


@dataclass(frozen=True)
class Block:
    """A fenced block: lines [start, end) of its page without the fences; mark and reason are those of the comment."""

    language: str
    lines: tuple[str, ...]
    start: int
    mark: str
    reason: str

    @property
    def runs(self) -> bool:
        return self.language in _RUN and self.mark in ("", "varies")

    @property
    def commands(self) -> list[Command]:
        """Of a block that runs."""
        text = "\n".join(self.lines)
        if self.language == "sh":
            return [Command(text, None)]
        if self.language == "python":
            return [Command(f"python - <<'END_OF_BLOCK'\n{text}\nEND_OF_BLOCK", None)]
        found: list[tuple[list[str], list[str]]] = []
        goes_on = False
        for line in self.lines:
            if line.startswith("$ "):
                found.append(([line[2:]], []))
            else:
                found[-1][0 if goes_on else 1].append(line)
            goes_on = (line.startswith("$ ") or goes_on) and line.endswith("\\")
        return [Command("\n".join(command), "\n".join(output)) for command, output in found]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line.strip())
        if fence and start is None:
            start, language = number + 1, fence[1]
        elif fence and start is not None:
            mark = _MARK.match(lines[start - 2]) if start > 1 else None
            kind, reason = (mark[1], mark[2]) if mark else ("", "")
            found.append(Block(language, tuple(lines[start:number]), start, kind, reason))
            start = None
    return found


def run(page: Path, folder: Path, cache: Path) -> Iterator[tuple[Block, Command, subprocess.CompletedProcess[str]]]:
    """Runs a page's blocks in the folder, one after the other; the user's cache is a folder too."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "XDG_CACHE_HOME": str(cache),
        "COLUMNS": _COLUMNS, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    for block in blocks(page):
        if block.mark == "file":
            (folder / block.reason).write_text("\n".join([*block.lines, ""]), encoding="utf-8")
        for command in block.commands if block.runs else []:
            done = subprocess.run(
                ["sh", "-c", command.text], cwd=folder, env=environment, text=True, encoding="utf-8", check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            yield block, command, done


def write_outputs(pages: Sequence[Path]) -> None:
    """Runs the first page in a folder, and each other one in a copy of it; replaces the outputs that they show."""
    with tempfile.TemporaryDirectory() as work:
        first = Path(work, "first")
        first.mkdir()
        for number, page in enumerate(pages):
            folder = first
            if number:
                folder = shutil.copytree(first, Path(work, str(number)), symlinks=True)
            _write_outputs(page, folder, Path(work, "cache"))


def _write_outputs(page: Path, folder: Path, cache: Path) -> None:
    printed: dict[int, list[str]] = {}
    for block, command, done in run(page, folder, cache):
        if done.returncode:
            sys.exit(f"{page}:{block.start}: {command.text}\n{done.stdout}")
        printed.setdefault(block.start, []).extend([*f"$ {command.text}".split("\n"), *done.stdout.splitlines()])
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in reversed(blocks(page)):
        if block.language == "console" and block.start in printed and "..." not in block.lines:
            lines[block.start : block.start + len(block.lines)] = printed[block.start]
    page.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    write_outputs([Path(argument) for argument in sys.argv[1:]])
