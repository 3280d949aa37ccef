"""The tokenizer and special tokens of a decoder-only model."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, processors

from edge_lorahub.errors import CheckpointError

from .generation_config import read_decoder_tokens
from .model_source import ModelSource, TextTokens
from .tokenizer import check_vocabulary

# transformers' classes that put the start token before a text as tokenizer_config.json says, whatever the tokenizer's
# own file says.
_BY_SETTINGS = frozenset(f"{name}Tokenizer{fast}" for name in ("Llama", "CodeLlama", "Gemma") for fast in ("", "Fast"))


def decoder_only_tokens(source: ModelSource, vocab_size: int) -> TextTokens:
    """Reads both. Examples end with the tokenizer's own end token where that ends an answer, else with the first.

    Raises CheckpointError or MissingPathError.
    """
    special = read_decoder_tokens(source.token_files, vocab_size)
    tokenizer = source.tokenizer(convert=False)
    check_vocabulary(tokenizer, vocab_size, source.path)
    _start_as_settings_say(tokenizer, source)
    own = _token(tokenizer, source, "eos_token")
    return TextTokens(tokenizer, special, own if own in special.end_token_ids else special.end_token_ids[0])


def _start_as_settings_say(tokenizer: Tokenizer, source: ModelSource) -> None:
    settings = source.tokenizer_settings
    if settings.get("tokenizer_class") not in _BY_SETTINGS:
        return
    wanted: Any = settings.get("add_bos_token", True)
    if not isinstance(wanted, bool):
        raise CheckpointError(f"{source.path}: add_bos_token must be true or false, got {wanted!r:.40}")
    start = _token(tokenizer, source, "bos_token") if wanted else None
    if wanted and start is None:
        raise CheckpointError(
            f"{source.path}: tokenizer_config.json says that a text begins with bos_token, which is no token of the "
            "tokenizer; mend one of them"
        )
    if start is None:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    else:
        text = tokenizer.id_to_token(start)
        tokenizer.post_processor = processors.TemplateProcessing(single=[text, "$A"], special_tokens=[(text, start)])


def _token(tokenizer: Tokenizer, source: ModelSource, key: str) -> int | None:
    """The id of a token that tokenizer_config.json names by its text; None where it does not."""
    named = source.tokenizer_settings.get(key)
    text = named.get("content") if isinstance(named, dict) else named
    found: int | None = tokenizer.token_to_id(text) if isinstance(text, str) else None
    return found
