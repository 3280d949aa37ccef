"""The embedded base as a bundle in the user's cache: made at the first use, verified at every one, and made anew."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

from .._version import __version__
from ..bundle.manifest import FORMAT_VERSION, MANIFEST, read_manifest
from ..errors import BundleError, NotWritableError, OutputFailedError
from ..files.outputs import check_digests, replaced_folder, sha256
from ..tinyhub.hub import BASE

# Beside the manifest, which has the digests of all other files: its own.
SEAL = "manifest.sha256"


def base_bundle() -> Path:
    """The bundle's folder, in which every file is as it was exported.

    Its name holds the version and the base's digest. Where the cache cannot be written to, as in containers, or is on
    a full disk, the bundle is for this run only.
    """
    digest = sha256(BASE / "model.safetensors")[:12]
    out = Path(user_cache_path("edge-lorahub")) / f"tiny-t5-{__version__}-{FORMAT_VERSION}-{digest}"
    if _is_whole(out):
        return out
    try:
        _make(out)
    except (NotWritableError, OutputFailedError):
        if not _is_whole(out):  # as it is where another process was faster
            folder = tempfile.mkdtemp(prefix="edge-lorahub-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            out = Path(folder) / out.name
            _make(out)
    return out


def _make(out: Path) -> None:
    from ..export import export  # takes a quarter of a second, which a bundle that is there need not wait for

    with replaced_folder(out) as work:
        export(BASE, work)
        (work / SEAL).write_text(sha256(work / MANIFEST))


def _is_whole(bundle: Path) -> bool:
    """Whether all files are there and have their digests, 5 MB in a few milliseconds."""
    try:
        if (bundle / SEAL).read_bytes() != sha256(bundle / MANIFEST).encode():
            return False
        check_digests(bundle, read_manifest(bundle).sha256)
    except (OSError, BundleError):  # a file that is missing, cannot be read or is none, or another format
        return False
    return True
