"""What lies in a store."""

from __future__ import annotations

import os

from edge_lorahub import Hub
from edge_lorahub.hub.index import INDEX, OBJECTS


def objects(hub: Hub) -> list[str]:
    return sorted(os.listdir(hub.path / OBJECTS))


def left(hub: Hub) -> list[str]:
    return sorted(name for name in os.listdir(hub.path) if name not in (INDEX, OBJECTS))


def names(hub: Hub) -> list[str]:
    return [entry.name for entry in hub.list()]
