"""Cleaning up spaces after decoding, as a tokenizer's settings ask for it: `a , b ?` becomes `a, b?`."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders

from .tokenizer_settings import read_settings

_SETTING = "clean_up_tokenization_spaces"

# transformers' PreTrainedTokenizerBase.clean_up_tokenization (4.57), in its order: each replaces what the ones before
# left.
REPLACEMENTS = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
# No token begins with it.
_NEVER = "\0"


def clean_up_as_settings_say(tokenizer: Tokenizer, folder: Path) -> None:
    """Makes the tokenizer's own decoder clean up, where the folder's settings say so; without a word of it, not.

    So does transformers, after decoding. A bundle needs no setting of its own then. Raises CheckpointError.
    """
    if not read_settings(folder).get(_SETTING):
        return
    # without a decoder tokens are joined by spaces, which a sequence of decoders does not do by itself
    first = tokenizer.decoder or decoders.WordPiece(prefix=_NEVER, cleanup=False)
    # fused, since a space and what follows it are most often two tokens
    steps = [first, decoders.Fuse(), *(decoders.Replace(old, new) for old, new in REPLACEMENTS)]
    tokenizer.decoder = decoders.Sequence(steps)
