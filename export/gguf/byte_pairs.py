"""Byte-level byte-pair vocabularies (tokenizer.ggml.model "gpt2") as a tokenizer of the library tokenizers."""

from __future__ import annotations

import re
import warnings
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning

from .gguf_vocabulary import Vocabulary
from .matching import add_matched
from .metadata import Metadata
from .pre_tokenizers import PRE_TOKENIZERS, PreTokenizer

_PRE = "tokenizer.ggml.pre"
_MERGES = "tokenizer.ggml.merges"


def pre_tokenizer_of(metadata: Metadata) -> PreTokenizer:
    """How the file's texts are cut into words; refused by name if it is not known."""
    name = metadata.text(_PRE)
    if name is None:
        warnings.warn(
            f"{metadata.path}: no {_PRE}, so texts are cut into words as llama.cpp does it then, and hardly as the "
            "model was trained; convert the model again with a current llama.cpp",
            EdgeLorahubWarning,
            stacklevel=5,
        )
        name = "default"
    if name not in PRE_TOKENIZERS:
        raise CheckpointError(
            f"{metadata.path}: {_PRE} {name!r:.80} is not supported, only {', '.join(sorted(PRE_TOKENIZERS))}"
        )
    return PRE_TOKENIZERS[name]


def byte_pair_tokenizer(metadata: Metadata, vocabulary: Vocabulary, words: PreTokenizer) -> Tokenizer:
    """The tokenizer, without a post-processor. Raises CheckpointError for what cannot be rebuilt exactly."""
    for key in ("tokenizer.ggml.add_space_prefix", "tokenizer.ggml.remove_extra_whitespaces"):
        if metadata.flag(key):
            raise CheckpointError(f"{metadata.path}: {key} with a byte-level vocabulary is not supported")
    missing = _missing_bytes(vocabulary, whole_words=words.whole_words)
    tokenizer = Tokenizer(
        models.BPE(dict(vocabulary.ids), _merges(metadata, vocabulary), ignore_merges=words.whole_words)
    )
    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in words.patterns]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    if missing:
        # A byte that is no token is left out. Without this the ones around it would be neighbors, and merged.
        steps.append(pre_tokenizers.Split(Regex("[" + "".join(map(re.escape, missing)) + "]"), "removed"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    add_matched(tokenizer, vocabulary)
    return tokenizer


def _missing_bytes(vocabulary: Vocabulary, *, whole_words: bool) -> list[str]:
    """The bytes that are no token, as the characters that stand for them; SmolLM2 lacks some control characters."""
    missing = [character for character in pre_tokenizers.ByteLevel.alphabet() if character not in vocabulary.ids]
    if whole_words and any(character in token for token in vocabulary.tokens for character in missing):
        raise CheckpointError(f"{vocabulary.path}: tokens with bytes in them that are no tokens are not supported")
    return sorted(missing)


def _merges(metadata: Metadata, vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """The pairs in the order in which they are merged; of a pair that is there twice the first counts."""
    found = metadata.texts(_MERGES)
    if not found:
        raise CheckpointError(f"{metadata.path}: no {_MERGES}, without which texts cannot be made tokens")
    pairs: dict[tuple[str, str], None] = {}
    for index, merge in enumerate(found):
        first, _, second = merge.partition(" ")
        if not first or not second or " " in second:
            raise CheckpointError(f"{metadata.path}: {_MERGES}[{index}] must be two words, got {merge!r:.80}")
        for word in (first, second, first + second):
            if word not in vocabulary.ids:
                raise CheckpointError(f"{metadata.path}: {_MERGES}[{index}] has {word!r:.80}, which is no token")
        pairs[first, second] = None
    return list(pairs)
