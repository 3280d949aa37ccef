"""Bundles that are changed on purpose."""

from __future__ import annotations

import json
from pathlib import Path

from edge_lorahub.bundle.manifest import MANIFEST, WEIGHTS
from edge_lorahub.bundle.weights_sample import sample_digest
from edge_lorahub.files.outputs import sha256


def sign(bundle: Path) -> None:
    """Makes the manifest say what the files are now, so that nothing but their contents is wrong."""
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["sha256"] = {name: sha256(bundle / name) for name in manifest["sha256"]}
    manifest["weights_sample"] = sample_digest(bundle / WEIGHTS)
    (bundle / MANIFEST).write_text(json.dumps(manifest))
