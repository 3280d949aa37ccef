"""Where the embedded hub's folders lie: an ordinary checkpoint and ordinary PEFT modules, as package data."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "data"
BASE = DATA / "base"
# Kinds of modules, and the folders that they are in.
KINDS = {"clean": ("clean",), "entangled": ("entangled",), "both": ("clean", "entangled")}


def module_parents(kind: str) -> list[Path]:
    """The folders that the modules of a kind are in."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of modules {kind!r}; expected {', '.join(KINDS)}")
    return [DATA / "modules" / part for part in KINDS[kind]]


def module_folders(kind: str) -> list[Path]:
    """The folders of the modules of a kind, by name."""
    return [path for parent in module_parents(kind) for path in sorted(parent.iterdir()) if path.is_dir()]
