"""A checkpoint's tokenizer, as the plain `tokenizer.json` of a bundle."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from edge_lorahub.contract import TOKENIZER
from edge_lorahub.errors import CheckpointError, MissingDependencyError, MissingPathError
from edge_lorahub.files import is_lfs_pointer, lfs_message

from .clean_up import clean_up_as_settings_say
from .t5_config import T5Config


def write_tokenizer(folder: Path, out: Path, config: T5Config) -> None:
    """Writes the checkpoint's tokenizer to `out`, with no truncation or padding baked in.

    Decoding cleans up spaces where the checkpoint's settings say so.

    A checkpoint with no tokenizer.json (mT5's, for example) is converted with transformers, from the extra
    "export".
    """
    path = folder / TOKENIZER
    tokenizer = _read(path) if path.is_file() else _convert(folder)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= config.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has id {largest}, but the model's vocab_size is {config.vocab_size}; "
            "it belongs to another model"
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    clean_up_as_settings_say(tokenizer, folder)
    ids = tokenizer.encode("a").ids
    if not ids or ids[-1] != config.eos_token_id:
        raise CheckpointError(
            f"{folder}: the tokenizer does not end a text with the model's end token "
            f"(id {config.eos_token_id}), as T5's does; it belongs to another model"
        )
    tokenizer.save(str(out))


def _read(path: Path) -> Tokenizer:
    if is_lfs_pointer(path):
        raise CheckpointError(lfs_message(path))
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise CheckpointError(f"{path}: not a tokenizer file ({error}); download it again") from error


def _convert(folder: Path) -> Tokenizer:
    if not (folder / "spiece.model").is_file():
        raise MissingPathError(f"{folder}: neither {TOKENIZER} nor spiece.model; copy the tokenizer's files there")
    try:
        import google.protobuf  # noqa: F401
        import sentencepiece  # noqa: F401
        from transformers import T5TokenizerFast
    except ImportError as error:
        raise MissingDependencyError(
            f"{folder}: no {TOKENIZER}, and making one from spiece.model takes transformers and sentencepiece: "
            "pip install 'edge-lorahub[export]'"
        ) from error
    try:
        converted = T5TokenizerFast.from_pretrained(str(folder))
    except Exception as error:
        raise CheckpointError(f"{folder / 'spiece.model'}: cannot be converted ({error})") from error
    tokenizer: Tokenizer = converted.backend_tokenizer
    return tokenizer
