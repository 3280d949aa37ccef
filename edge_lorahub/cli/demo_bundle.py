"""The demonstrations' models as bundles in the user's cache: made once, verified at every use, and made anew."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from .._version import __version__
from ..bundle.manifest import FORMAT_VERSION, MANIFEST, read_manifest
from ..errors import BundleError, NotWritableError, OutputFailedError
from ..files.outputs import check_digests, replaced_folder, sha256
from ..langhub import SLOTS
from ..tinyhub.hub import BASE

# Beside the manifest, which has the digests of all other files: its own.
SEAL = "manifest.sha256"


def base_bundle() -> Path:
    """The bundle of the embedded base."""
    return _cached("tiny-t5", BASE, BASE / "model.safetensors", {})


def language_bundle(model: Path) -> Path:
    """The bundle of SmolLM2-135M-Instruct, of its GGUF file, in int8 and with the slots of the hub's modules."""
    return _cached("smollm2-135m-int8", model, model, {"precision": "int8", "slots": SLOTS})


def _cached(name: str, source: Path, weights: Path, settings: Mapping[str, Any]) -> Path:
    """The folder of an export, in which every file is as it was exported.

    Its name holds the version and the digest of the weights. Where the cache cannot be written to, as in containers, or
    is on a full disk, the bundle is for this run only.
    """
    out = Path(user_cache_path("edge-lorahub")) / f"{name}-{__version__}-{FORMAT_VERSION}-{sha256(weights)[:12]}"
    if _is_whole(out):
        return out
    try:
        _make(out, source, settings)
    except (NotWritableError, OutputFailedError):
        if not _is_whole(out):  # as it is where another process was faster
            folder = tempfile.mkdtemp(prefix="edge-lorahub-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            out = Path(folder) / out.name
            _make(out, source, settings)
    return out


def _make(out: Path, source: Path, settings: Mapping[str, Any]) -> None:
    from ..export import export  # takes a quarter of a second, which a bundle that is there need not wait for

    with replaced_folder(out) as work:
        export(source, work, **settings)
        (work / SEAL).write_text(sha256(work / MANIFEST))


def _is_whole(bundle: Path) -> bool:
    """Whether all files are there and have their digests, 5 MB in a few milliseconds, 200 MB in a third of a second."""
    try:
        if (bundle / SEAL).read_bytes() != sha256(bundle / MANIFEST).encode():
            return False
        check_digests(bundle, read_manifest(bundle).sha256)
    except (OSError, BundleError):  # a file that is missing, cannot be read or is none, or another format
        return False
    return True
