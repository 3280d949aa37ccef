"""Makes and reads mutants by number, within bounds of memory, and says what each ended with; `test_fuzz` starts it.

Reads lines "TARGET<tab>NUMBER" and answers each with one line of JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from targets import TARGETS

from edge_lorahub.errors import EdgeLorahubError

_MEMORY = 500_000_000
_opened: list[str] = []


def _note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        _opened.append(os.fsdecode(arguments[0]))
    elif event in ("subprocess.Popen", "os.system", "os.exec", "socket.connect"):
        _opened.append(event)


def _outside(folder: Path) -> list[str]:
    """What was opened that is neither of the mutant nor of Python and its packages."""
    allowed = (
        str(folder),
        sys.prefix,
        sys.base_prefix,
        *(p for p in sys.path if p),
        "/proc",
        "/sys",
        "/dev/null",
        "/etc/machine-id",
    )  # by which what a dead run left is told from what a living one writes
    here = tempfile.gettempdir()
    return [
        name for name in _opened
        if not name.startswith(allowed) and here not in (name, os.path.dirname(name))
    ]  # fmt: skip


def _memory() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def run(corpus: Path, name: str, number: int) -> dict[str, Any]:
    """One mutant: "read", "refused", or what went wrong; and the seconds that reading it took."""
    target = TARGETS[name]
    folder = Path(tempfile.mkdtemp(prefix="mutant-"))
    try:
        shutil.copytree(corpus / target.source, folder, dirs_exist_ok=True)
        path = folder / target.file
        path.write_bytes(target.mutate(random.Random(f"{name} {number}"), path.read_bytes()))
        limit = _memory() + _MEMORY + 4 * path.stat().st_size
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        _opened.clear()
        start = time.process_time()  # not the clock: what else runs on the machine is not the reader's
        end = "read"
        try:
            target.read(folder)
        except EdgeLorahubError as error:
            end = "refused"
            if not str(error).strip() or "Traceback" in str(error):
                end = f"a message that says nothing: {error!r}"
        except BaseException:  # noqa: BLE001  # a panic of Rust is one
            end = traceback.format_exc()
        seconds = time.process_time() - start
        if end in ("read", "refused") and (outside := _outside(folder)):  # a traceback opens its sources
            end = f"opened {outside[:3]}"
        return {"end": end, "seconds": seconds}
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    corpus = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    warnings.simplefilter("ignore")
    for target in TARGETS.values():  # what is imported on first use
        folder = Path(tempfile.mkdtemp(prefix="mutant-"))
        shutil.copytree(corpus / target.source, folder, dirs_exist_ok=True)
        target.read(folder)
        shutil.rmtree(folder)
    sys.addaudithook(_note_opened)
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        name, number = line.rstrip("\n").split("\t")
        print(json.dumps(run(corpus, name, int(number))), file=answers, flush=True)


if __name__ == "__main__":
    main()
