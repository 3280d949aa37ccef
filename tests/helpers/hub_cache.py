"""A local cache laid out as huggingface_hub lays it out."""

from __future__ import annotations

import shutil
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cached(home: Path, repository: str, folder: Path, revision: str = "main") -> None:
    """Puts a folder into the cache of HF_HOME: blobs, a snapshot of links to them, and a ref."""
    root = home / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    for directory in (root / "blobs", root / "refs", snapshot):
        directory.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        shutil.copyfile(file, root / "blobs" / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    (root / "refs" / revision).write_text(COMMIT)
