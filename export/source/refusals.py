"""What a source is that cannot be exported, and what its owner can do about it."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from edge_lorahub.bundle.architectures import DECODER_ONLY, ENCODER_DECODER
from edge_lorahub.bundle.manifest import MANIFEST
from edge_lorahub.errors import CheckpointError, MissingPathError
from edge_lorahub.files.user_path import user_path
from edge_lorahub.hub.resolve import checkpoint_folder, repository_files

from .checkpoint import INDEX, SINGLE

_CONFIG = "config.json"
_CONVERT = (
    'convert the weights where PyTorch is installed: python -c "from transformers import {model} as M; '
    "M.from_pretrained('{where}'{how}).save_pretrained('converted')\", and copy the tokenizer's files there"
)
# transformers' class that reads a model of an architecture with its head
_CLASSES = {ENCODER_DECODER: "AutoModelForSeq2SeqLM", DECODER_ONLY: "AutoModelForCausalLM"}
# Names of weights that are not read -> how transformers is told to read them
_OTHER_WEIGHTS = {
    r"pytorch_model(-\d+-of-\d+)?\.bin": "",
    r"tf_model.*\.h5": ", from_tf=True",
    r"flax_model.*\.msgpack": ", from_flax=True",
}
# "model.fp16.safetensors", "model.fp16-00001-of-00002.safetensors"
_VARIANT = re.compile(r"model\.([A-Za-z0-9_]+)(-\d+-of-\d+)?\.safetensors")


def source_folder(source: str | Path, revision: str | None = None) -> Path:
    """The folder of a checkpoint with settings and weights, downloaded from the Hub if `source` is not a folder.

    Raises MissingPathError or CheckpointError, which say what is there instead, or HubError.
    """
    path = user_path(source)
    if path.is_file():
        raise CheckpointError(
            f"{path}: a file, where a folder or a GGUF file was expected: name the checkpoint's folder, {path.parent}"
        )
    folder = checkpoint_folder(source, revision)
    names = {file.name for file in folder.iterdir()}
    if not path.is_dir() and not (_CONFIG in names and {SINGLE, INDEX} & names):
        names |= set(repository_files(str(source), revision))
    for name in (_CONFIG, SINGLE, INDEX):
        link = folder / name
        if link.is_symlink() and not link.exists():
            raise MissingPathError(
                f"{link}: a link to {link.readlink()}, which is not there; copy the folder with what its links lead "
                "to (cp -rL)"
            )
    if _CONFIG not in names:
        raise MissingPathError(f"{source}: no {_CONFIG}{_instead(str(source), names)}")
    return folder


def check_weights(source: str | Path, folder: Path, architecture: str, revision: str | None = None) -> None:
    """Raises MissingPathError, with what to do, where there are no safetensors of the names that are read.

    architecture: of the model, one of `bundle.architectures.ARCHITECTURES`.
    """
    names = {file.name for file in folder.iterdir()}
    if {SINGLE, INDEX} & names:
        return
    if not user_path(source).is_dir():
        names |= set(repository_files(str(source), revision))
    raise MissingPathError(
        f"{source}: neither {SINGLE} nor {INDEX} is there{_instead(str(source), names, architecture)}"
    )


def _instead(where: str, names: Collection[str], architecture: str | None = None) -> str:
    """What a folder of those files is, when it is no checkpoint that can be read; architecture: None without config."""

    def convert(how: str) -> str:
        if architecture is None:  # transformers reads nothing without it either
            return f"copy the checkpoint's {_CONFIG} there"
        return _CONVERT.format(model=_CLASSES[architecture], where=where, how=how)

    if MANIFEST in names:
        return f", but {MANIFEST}: it is a bundle already, for adapt and generate"
    if "adapter_config.json" in names:
        return ", but adapter_config.json: it is an adapter; export the model that it was trained on"
    for name in sorted(names):
        if match := _VARIANT.fullmatch(name):
            if match[2] is None:
                return f", only {name}; copy or rename it to {SINGLE}"
            return f", only {name} and its like; " + convert(f", variant='{match[1]}'")
        for pattern, how in _OTHER_WEIGHTS.items():
            if re.fullmatch(pattern, name):
                return f", only {name}; " + convert(how)
    if files := sorted(name for name in names if name.endswith(".gguf")):
        if user_path(where).is_dir():
            return f", but GGUF files: name one of them, {Path(where) / files[0]}"
        return f", but GGUF files: download one of them, {files[0]}, and export that"
    shards = [name for name in names if re.fullmatch(r"model-\d+-of-\d+\.safetensors", name)]
    if shards:
        return f", though {min(shards)} is; copy {INDEX} there too"
    others = [name for name in names if name.endswith(".safetensors")]
    if others:
        return f", only {min(others)}; if these are all of the model's weights, copy or rename it to {SINGLE}"
    return "; is it a checkpoint?"
