"""`checkpoint`: a Hugging Face folder of W + delta."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_lorahub.bundle.architectures import TASK_TYPES
from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.composition.prompt_record import recorded_prompt
from edge_lorahub.convert.converted_folder import converted_folder
from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning
from edge_lorahub.files.outputs import scratch_folder

from .families import find_family
from .merging.layers import warn_of_other_base
from .merging.merged_files import write_merged
from .open_source import open_source
from .source.folder_source import FolderSource
from .source.generation_config import CONFIG
from .source.model_source import ModelSource

# What belongs to a checkpoint beside its weights; anything else in a folder may be anything.
_SETTINGS = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "LICENSE", "LICENSE.txt", "LICENSE.md",
)  # fmt: skip
# Those of the tokenizer.
_TOKENIZER = "tokenizer.json"
_TOKENIZER_FILES = (
    _TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "spiece.model", "vocab.json", "merges.txt",
)  # fmt: skip
# What config.json says of the weights' dtype, in transformers 4 and 5.
_DTYPES = ("torch_dtype", "dtype")
_TEMPLATES = "additional_chat_templates"


def open_base(adapter: Adapter, base: str | Path, revision: str | None = None) -> tuple[ModelSource, tuple[str, ...]]:
    """The model that an adapter is for, and the kinds of its linear layers; the adapter's layers are not looked at.

    Warns where the adapter says that it is for another. Raises what `open_source` raises, or CheckpointError for a
    family that is not known.
    """
    model = open_source(base, revision)
    family = find_family(model.config, model.config_path)
    config = family.read(model.config, model.config_path)
    model.check(family.architecture)
    warn_of_other_base(adapter, model.base_model, TASK_TYPES[family.architecture], model.path)
    return model, family.slot_kinds(config)


def to_checkpoint(
    adapter: Adapter,
    base: str | Path,
    out: Path,
    *,
    float32: bool = False,
    revision: str | None = None,
    force: bool = False,
) -> None:
    """Writes a copy of a checkpoint with the adapter in its weights, in the checkpoint's shards and dtypes.

    base: a Hugging Face folder or Hub id. float32: all of it in that dtype; coarser ones round the change away in part.
    Warns where the adapter was learned with texts around its inputs, which other programs have to put there. Raises
    CheckpointError, ModuleMismatchError, ModuleFileError, HubError or MissingPathError, or as `converted_folder`.
    """
    source, kinds = base_folder(adapter, base, revision)
    with converted_folder(out, "checkpoint", adapter, force=force) as work:
        _write(adapter, source, kinds, work, float32=float32)


@contextmanager
def merged_beside(adapter: Adapter, source: FolderSource, kinds: tuple[str, ...], out: Path) -> Iterator[Path]:
    """A merged checkpoint in float32, beside the output of what reads it and removed again; of a `base_folder`."""
    with scratch_folder(out) as work:
        _write(adapter, source, kinds, work, float32=True)
        yield work


def base_folder(
    adapter: Adapter, base: str | Path, revision: str | None = None
) -> tuple[FolderSource, tuple[str, ...]]:
    """As `open_base`, of a Hugging Face folder alone. Raises CheckpointError for a GGUF file.

    Warns where the adapter was learned with texts around its inputs.
    """
    source, kinds = open_base(adapter, base, revision)
    if not isinstance(source, FolderSource):
        raise CheckpointError(
            f"{source.path}: a GGUF file; name the Hugging Face checkpoint that it was made of, or take "
            "`edge-lorahub export --adapter`"
        )
    prompt = recorded_prompt(adapter)
    if prompt is not None and not prompt.is_plain:
        warnings.warn(
            f"{adapter.name}: learned with texts around every input (its edge_lorahub.json has them); other programs "
            "have to put the same texts there, by the model's chat template for instance",
            EdgeLorahubWarning,
            stacklevel=3,
        )
    return source, kinds


def _write(adapter: Adapter, source: FolderSource, kinds: tuple[str, ...], work: Path, *, float32: bool) -> None:
    with source.open() as checkpoint:
        write_merged(checkpoint, adapter, kinds, work, float32=float32)
    for name in _SETTINGS:
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, work / name)
    if float32:
        said = {key: "float32" for key in _DTYPES if key in source.config}
        (work / CONFIG).write_text(json.dumps({**source.config, **said}, indent=2) + "\n", encoding="utf-8")
    if (source.path / _TEMPLATES).is_dir():
        warnings.warn(
            f"{source.path}: its {_TEMPLATES}, which are named templates beside the usual one, are not copied",
            EdgeLorahubWarning,
            stacklevel=3,
        )


def keep_tokenizer(base: Path, work: Path) -> None:
    """Puts a checkpoint's own tokenizer in the place of what transformers has saved of it, where there is one.

    Its class for T5, for one, adds tokens that the model may not have.
    """
    if not (base / _TOKENIZER).is_file():
        return
    for name in _TOKENIZER_FILES:
        (work / name).unlink(missing_ok=True)
        if (base / name).is_file():
            shutil.copyfile(base / name, work / name)
