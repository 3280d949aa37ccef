"""A digest of a few blocks of a large file, which takes a fifth of a millisecond whatever the file's size.

It tells a file of other weights, one of another size, and one of which a part was never written. A single bit that
changed it most likely misses: a digest of the whole file is for that.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..errors import BundleError
from .manifest import WEIGHTS, Manifest

# A part of zeros that is a twentieth of the file is missed once in 27 times.
_BLOCKS, _BLOCK = 64, 4096


def sample_digest(path: Path) -> str:
    """The hexadecimal SHA-256 of the file's size and of 64 blocks of 4096 bytes, evenly from its first to its last."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(f"{size} ".encode())
        for index in range(_BLOCKS):
            file.seek(max(0, size - _BLOCK) * index // (_BLOCKS - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def check_weights_sample(folder: Path, manifest: Manifest) -> None:
    """Compares a bundle's weights with its manifest, as far as a sample goes. Raises BundleError.

    A manifest of before there were samples has none, and nothing is compared.
    """
    path = folder / WEIGHTS
    if manifest.weights_sample is not None and sample_digest(path) != manifest.weights_sample:
        raise BundleError(
            f"{path}: not the weights that the manifest says: another bundle's, or damaged; copy it again, or export "
            "the bundle again"
        )
