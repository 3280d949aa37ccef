"""The model as a bundle, exported once."""

from __future__ import annotations

from pathlib import Path

from edge_lorahub.bundle.manifest import MANIFEST
from edge_lorahub.export import export
from edge_lorahub.langhub import SLOTS


def exported(model: Path, out: Path, precision: str) -> Path:
    """The folder of a GGUF file's bundle in ``out``, which is made where it is not there."""
    folder = out / f"bundle-{precision}"
    if not (folder / MANIFEST).exists():
        out.mkdir(parents=True, exist_ok=True)
        export(model, folder, slots=SLOTS, precision=precision)
    return folder
