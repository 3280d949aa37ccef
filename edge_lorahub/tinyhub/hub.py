"""Where the embedded hub's folders lie: an ordinary checkpoint and ordinary PEFT modules, as package data."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "data"
BASE = DATA / "base"
KINDS = ("clean", "entangled")


def module_folders(kind: str) -> list[Path]:
    """The folders of the clean or the entangled modules, by name."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of modules {kind!r}; expected {' or '.join(KINDS)}")
    return sorted(path for path in (DATA / "modules" / kind).iterdir() if path.is_dir())
