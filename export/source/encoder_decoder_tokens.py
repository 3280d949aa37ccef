"""The tokenizer and special tokens of an encoder-decoder."""

from __future__ import annotations

from edge_lorahub.errors import CheckpointError

from .generation_config import read_special_tokens
from .model_source import ModelSource, TextTokens
from .tokenizer import check_vocabulary


def encoder_decoder_tokens(source: ModelSource, vocab_size: int) -> TextTokens:
    """Reads both. The tokenizer must end a text with one of the tokens that end an answer.

    Raises CheckpointError, MissingPathError or MissingDependencyError.
    """
    special = read_special_tokens(source.token_files, vocab_size)
    tokenizer = source.tokenizer(convert=True)
    check_vocabulary(tokenizer, vocab_size, source.path)
    ids = tokenizer.encode("a").ids
    if not ids or ids[-1] not in special.end_token_ids:
        raise CheckpointError(
            f"{source.path}: the tokenizer does not end a text with the model's end token "
            f"(id {' or '.join(map(str, special.end_token_ids))}), as T5's does; it belongs to another model"
        )
    return TextTokens(tokenizer, special, int(ids[-1]))
