"""A checkpoint's tokenizer, as the plain `tokenizer.json` of a bundle."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from edge_lorahub.bundle.manifest import TOKENIZER
from edge_lorahub.errors import CheckpointError, MissingPathError
from edge_lorahub.files.outputs import is_lfs_pointer, lfs_message
from edge_lorahub.tokenizer.tokenizer_file import load_tokenizer

from .added_tokens import add_named_tokens
from .clean_up import clean_up_as_settings_say
from .tokenizer_conversion import convert, warn_of_own_code


def read_tokenizer(folder: Path, *, convertible: bool) -> Tokenizer:
    """The tokenizer of a checkpoint's folder, with no truncation or padding baked in.

    Decoding cleans up spaces where the checkpoint's settings say so. convertible: where there is no tokenizer.json it
    is made from T5's other files. Raises CheckpointError, MissingPathError or MissingDependencyError.
    """
    path = folder / TOKENIZER
    if path.is_file():
        if is_lfs_pointer(path):
            raise CheckpointError(lfs_message(path))
        tokenizer = load_tokenizer(
            path, lambda message: CheckpointError(f"{message}; take that of the model it was made from")
        )
        add_named_tokens(tokenizer, folder)
        warn_of_own_code(folder)
    elif convertible:
        tokenizer = convert(folder)
    else:
        raise MissingPathError(
            f'{folder}: no {TOKENIZER}; make one where transformers is installed: python -c "from transformers import '
            f"AutoTokenizer as T; T.from_pretrained('{folder}').save_pretrained('{folder}')\""
        )
    clean_up_as_settings_say(tokenizer, folder)
    return tokenizer


def check_vocabulary(tokenizer: Tokenizer, vocab_size: int, where: Path) -> None:
    """Raises CheckpointError for ids that the model does not have."""
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest >= vocab_size:
        raise CheckpointError(
            f"{where}: the tokenizer has id {largest}, but the model's vocab_size is {vocab_size}; "
            "it belongs to another model"
        )
