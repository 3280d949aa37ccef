"""Where the hub's modules lie: ordinary PEFT folders, as package data."""

from __future__ import annotations

from pathlib import Path

# The folder that all modules are in.
MODULES = Path(__file__).parent / "data" / "modules"
# What they change.
SLOTS = ("q_proj", "v_proj")


def module_folders() -> list[Path]:
    """The modules' folders, by name."""
    return [path for path in sorted(MODULES.iterdir()) if path.is_dir()]
