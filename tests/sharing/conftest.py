"""Stores that several tests begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_lorahub import Hub


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "store")


@pytest.fixture
def stored(hub: Hub, module_folders: list[Path]) -> Hub:
    """The four modules, two of them with a tag."""
    hub.add(module_folders[:2], tags="even")
    hub.add(module_folders[2:])
    return hub
