"""A checkpoint's tokenizer, as the plain `tokenizer.json` of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_lorahub.bundle.manifest import TOKENIZER
from edge_lorahub.errors import CheckpointError
from edge_lorahub.files.outputs import is_lfs_pointer, lfs_message
from edge_lorahub.tokenizer.tokenizer_file import load_tokenizer

from .clean_up import clean_up_as_settings_say
from .tokenizer_conversion import convert


def write_tokenizer(folder: Path, out: Path, vocab_size: int, ends: Sequence[int]) -> int:
    """Writes the checkpoint's tokenizer to `out`, with no truncation or padding baked in.

    Decoding cleans up spaces where the checkpoint's settings say so.

    A checkpoint with no tokenizer.json is converted. Gives the token, one of `ends`, that the tokenizer ends a text
    with. Raises CheckpointError, MissingPathError or MissingDependencyError.
    """
    path = folder / TOKENIZER
    if path.is_file():
        if is_lfs_pointer(path):
            raise CheckpointError(lfs_message(path))
        tokenizer = load_tokenizer(
            path, lambda message: CheckpointError(f"{message}; take that of the model it was made from")
        )
    else:
        tokenizer = convert(folder)
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has id {largest}, but the model's vocab_size is {vocab_size}; "
            "it belongs to another model"
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    clean_up_as_settings_say(tokenizer, folder)
    ids = tokenizer.encode("a").ids
    if not ids or ids[-1] not in ends:
        raise CheckpointError(
            f"{folder}: the tokenizer does not end a text with the model's end token "
            f"(id {' or '.join(map(str, ends))}), as T5's does; it belongs to another model"
        )
    tokenizer.save(str(out))
    return int(ids[-1])
