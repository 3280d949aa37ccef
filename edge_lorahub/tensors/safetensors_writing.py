"""Tensors as a safetensors file, which whoever may read its folder's other files may read too."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Writes contiguous arrays. Some versions of the library make files that only their owner may read."""
    from safetensors.numpy import save_file

    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(dict(tensors), path, metadata=dict(metadata))
    path.chmod(mode)
