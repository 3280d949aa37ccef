"""The commands that do by hand what a demonstration did, on files that are written for them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from ..files.outputs import write_text
from .printable import say

if TYPE_CHECKING:
    from ..examples.example import Example
    from ..learning.settings import Settings


def print_commands(
    bundle: Path, name: str, parents: Sequence[Path], settings: Settings, shots: Sequence[Example],
    held_out: Sequence[Example], threads: int | None, model: tuple[str, str],
) -> None:  # fmt: skip
    """The examples to learn from and those to measure on are written beside the bundle.

    name: what the files are called after. parents: the folders that the modules are in. model: one of this kind to
    export, and a folder for it.
    """
    if not bundle.is_relative_to(user_cache_path("edge-lorahub")):
        say("", "The cache cannot be written to, so there is nothing left to try the commands on.")
        return
    learning, other = (bundle.parent / f"{name}-{settings.seed}.{part}.jsonl" for part in ("examples", "held-out"))
    try:
        for path, rows in ((learning, shots), (other, held_out)):
            lines = (json.dumps({"input": e.input, "output": e.output}, ensure_ascii=False) for e in rows)
            write_text(path, "".join(f"{line}\n" for line in lines))
    except OSError:
        say("", f"{learning.parent} cannot be written to, so there are no examples to try the commands on.")
        return
    source, folder = model
    options = " ".join([*(f"--modules {_quoted(parent)}" for parent in parents), *_chosen(settings, threads)])
    say(
        "",
        "The same by hand:",
        f"  edge-lorahub adapt {_quoted(bundle)} {_quoted(learning)} {options} --out my-task",
        f"  edge-lorahub evaluate {_quoted(bundle)} {_quoted(other)} --adapter my-task",
        "With a model, modules and examples of your own:",
        f"  edge-lorahub export {source} {folder}",
        f"  edge-lorahub adapt {folder} examples.jsonl --module DIR --module DIR --out my-task",
    )


def _chosen(settings: Settings, threads: int | None) -> list[str]:
    """The options that are not the defaults."""
    chosen = [f"--optimizer {settings.optimizer}"] if settings.optimizer != "cma" else []
    chosen += [f"--budget {settings.budget}"] if settings.budget is not None else []
    chosen += ["--no-surrogate"] if settings.optimizer == "cma" and not settings.assisted else []
    chosen += [f"--composition {settings.composition}"] if settings.composition is not None else []
    chosen += [f"--seed {settings.seed}"] if settings.seed != 1 else []
    chosen += [f"--threads {threads}"] if threads is not None else []
    return chosen


def _quoted(path: Path) -> str:
    """A path as a shell takes it, from the home folder on where it lies there."""
    try:
        return f"~/{shlex.quote(str(path.relative_to(Path.home())))}"
    except (ValueError, RuntimeError):
        return shlex.quote(str(path))
