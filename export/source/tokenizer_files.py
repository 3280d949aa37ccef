"""What transformers gets to see of a checkpoint's tokenizer: the files that are data, and settings that are known.

Its readers also take names of other files, classes and code from tokenizer_config.json.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError

from .added_tokens import MOST_TOKENS
from .json_fields import whole
from .tokenizer_settings import SETTINGS, read_settings

# Arguments for every from_pretrained.
LOCAL: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_OTHERS = ("added_tokens.json", "special_tokens_map.json")
# Settings of the classes that are used here which change the ids of a text.
_KEPT = (
    "add_bos_token", "add_prefix_space", "added_tokens_decoder", "additional_special_tokens", "bos_token", "cls_token",
    "eos_token", "errors", "extra_ids", "mask_token", "pad_token", "sep_token", "trim_offsets", "unk_token",
)  # fmt: skip


@contextmanager
def tokenizer_files(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """A folder with copies of the named files, of the added tokens, and of the settings that are known."""
    settings = read_settings(folder)
    with tempfile.TemporaryDirectory() as copies:
        for name in (*names, *_OTHERS):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, Path(copies, name))
        kept = {key: settings[key] for key in _KEPT if key in settings}
        Path(copies, SETTINGS).write_text(json.dumps(kept), encoding="utf-8")
        yield copies


def check_extra_ids(folder: Path) -> None:
    """Raises CheckpointError for more extra_ids than any tokenizer has."""
    path, settings = folder / SETTINGS, read_settings(folder)
    if whole(settings, "extra_ids", path, 0, least=0) > MOST_TOKENS:
        raise CheckpointError(f"{path}: extra_ids is {settings['extra_ids']}, more than any tokenizer has")
