"""Texts to token ids and back, and batches of similar length."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from ..bundle.manifest import ModelConfig
from ..errors import BundleError, EdgeLorahubWarning, ExamplesError
from ..tokenizer.start_tokens import start_tokens
from ..tokenizer.tokenizer_file import load_tokenizer, one_error

Ids = NDArray[np.int64]

# A batch may have a quarter more padded tokens than tokens, and this many padded tokens in all, so that the
# attention's scores (heads x length^2 a text) stay small.
_PADDING = 1.25
_LARGEST_BATCH = 4096
# The same where every token of a batch is scored at once: what a layer makes of more tokens leaves the caches.
# Measured, see docs/decisions/008-batches-of-768-tokens.md.
BATCH_TOKENS = 768


class Tokens:
    """A bundle's tokenizer, and the manifest's `config`."""

    def __init__(self, path: Path, config: ModelConfig) -> None:
        self._tokenizer = load_tokenizer(path, lambda message: BundleError(f"{message}; export the bundle again"))
        self.config = config
        self._path = path
        self._size = config.vocab_size
        self._eos = config.eos_token_id
        self._pad = config.pad_token_id

    def encode(self, texts: Sequence[str], limit: int, first: int = 1) -> list[Ids]:
        """Token ids, one array a text, with what the tokenizer adds. A longer text than `limit` is cut, with a warning.

        As transformers does it, what is kept of a longer text is its start, and the end token. first: the first
        text's number, in warnings and errors.
        """
        result = []
        for number, encoding in enumerate(self.encodings(texts, first), first):
            ids = np.array(encoding.ids, np.int64)
            if len(ids) > limit:
                warnings.warn(
                    f"text {number} has {len(ids)} tokens and is cut to {limit}", EdgeLorahubWarning, stacklevel=5
                )
                ids = np.append(ids[: limit - 1], self._eos)
            result.append(ids)
        return result

    @cached_property
    def start_ids(self) -> list[int]:
        """The tokens that the tokenizer puts before a text."""
        with _one_error(self._path):
            return start_tokens(self._tokenizer)

    def encodings(self, texts: Sequence[str], first: int = 1, *, added: bool = True) -> list[Encoding]:
        """What the tokenizer makes of each text, uncut; added: with the tokens that it puts around any text.

        Raises ExamplesError for what is no text, and BundleError for tokens that the model does not have.
        """
        for number, text in enumerate(texts, first):
            # JSON can spell half of a surrogate pair, which is no character
            if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
                raise ExamplesError(f"text {number}: not valid Unicode (a lone surrogate); mend the text")
        with _one_error(self._path):
            encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=added)
        for number, encoding in enumerate(encodings, first):
            largest = max(encoding.ids, default=0)
            if largest >= self._size:
                raise BundleError(
                    f"{self._path}: text {number} has a token of id {largest}, but the model's vocabulary has "
                    f"{self._size}; export the bundle again"
                )
        return list(encodings)

    def decode(self, ids: Sequence[Ids]) -> list[str]:
        """Texts without special tokens."""
        with _one_error(self._path):
            return list(self._tokenizer.decode_batch([row.tolist() for row in ids], skip_special_tokens=True))

    def read_back(self, texts: Sequence[str]) -> list[str]:
        """What is left of texts that are encoded and decoded; the same texts, where the vocabulary has it all."""
        return self.decode(self.encode(texts, sys.maxsize))

    def unknown_pieces(self, texts: Sequence[str]) -> list[set[str]]:
        """Of each text the pieces, characters or words, for which there is nothing but the unknown token."""
        unknown = self.unknown
        if unknown is None:
            return [set() for _ in texts]
        found = []
        for text, encoding in zip(texts, self.encodings(texts), strict=True):
            spans = zip(encoding.offsets, encoding.ids, strict=True)
            found.append({text[start:end] for (start, end), token in spans if token == unknown and end > start})
        return found

    @cached_property
    def characters(self) -> set[str] | None:
        """Every character that a decoded text may have; None: any, since there are tokens for single bytes."""
        count = min(self._size, self._tokenizer.get_vocab_size(with_added_tokens=True))
        found = set().union(*self.decode([np.array([token]) for token in range(count)]))
        # a token's space in front is taken away where it begins a text
        return None if "\N{REPLACEMENT CHARACTER}" in found else found | {" "}

    @cached_property
    def unknown(self) -> int | None:
        """The unknown token's id, where there is one. The library does not tell; its file does."""
        model = json.loads(self._tokenizer.to_str())["model"]
        if "unk_id" in model:
            return int(model["unk_id"]) if model["unk_id"] is not None else None
        token = model.get("unk_token")
        return None if token is None else self._tokenizer.token_to_id(token)

    def pad(self, rows: Sequence[Ids]) -> tuple[Ids, Ids]:
        """Rows of different lengths -> ids and mask, both int64 (B, longest), and of two columns at least.

        onnxruntime's product of a single row sums in another order than that of several. So a text of one token would
        get other last bits alone than beside longer ones, which in int8 become whole steps.
        """
        longest = max(2, *(len(row) for row in rows))
        ids = np.full((len(rows), longest), self._pad, np.int64)
        mask = np.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        return ids, mask


def _one_error(path: Path) -> AbstractContextManager[None]:
    """Turns a panic of the library into a BundleError: a text that the file's own rules break down on."""
    return one_error(
        lambda reason: BundleError(
            f"{path}: fails on a text ({reason:.200}); take the tokenizer of the model that it was made from, and "
            "export the bundle again"
        ),
        panics_only=True,
    )


def buckets(
    lengths: Sequence[int], *, largest: int | None = None, batch_tokens: int = _LARGEST_BATCH
) -> list[list[int]]:
    """Groups texts by length, so that little of a batch is padding; each group has positions in `lengths`.

    `largest` bounds the texts in a group, batch_tokens its tokens with their padding: a text that is longer is
    alone.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        group = groups[-1] if groups else []
        padded = lengths[index] * (len(group) + 1)
        real = sum(lengths[i] for i in group) + lengths[index]
        fits = group and padded <= _PADDING * real and padded <= batch_tokens
        if fits and (largest is None or len(group) < largest):
            group.append(index)
        else:
            groups.append([index])
    return groups
