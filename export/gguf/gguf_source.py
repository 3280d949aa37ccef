"""A GGUF file as a source of the exporter: what `open_gguf` gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, processors

from edge_lorahub.errors import CheckpointError
from edge_lorahub.tensors.safetensors_file import Float32
from edge_lorahub.tokenizer.tokenizer_file import one_error
from edge_lorahub.tokenizer.tokenizer_parts import check_parts

from .byte_pairs import byte_pair_tokenizer, pre_tokenizer_of
from .gguf_checkpoint import GgufCheckpoint
from .gguf_config import architecture_of, read_config
from .gguf_vocabulary import SpecialTokens, Vocabulary, read_vocabulary, special_tokens
from .header import Header, read_header
from .known_architectures import ROPE_FACTORS, Layout, layouts
from .metadata import Metadata
from .pieces import piece_tokenizer
from .rope import llama3_scaling

_MODEL = "tokenizer.ggml.model"


@dataclass(frozen=True)
class GgufSource:
    """A model in a GGUF file.

    config is what Hugging Face's config.json has. checkpoint gives the tensors, and is opened as a context manager.
    tokenizer_json is the text of a tokenizer.json without truncation, padding or cleaning up of spaces; it adds the
    start and end tokens that `special` says. chat_template is None where the file has none.
    """

    path: Path
    config: dict[str, Any]
    checkpoint: GgufCheckpoint
    tokenizer_json: str
    chat_template: str | None
    special: SpecialTokens


def open_gguf(path: Path) -> GgufSource:
    """Reads a GGUF file's metadata and tokenizer, and checks what tensors it has; no tensor is read but rope_freqs.

    Raises CheckpointError, by name, for a file that is damaged and for a model or a tokenizer that is not supported or
    cannot be rebuilt exactly; MissingPathError; MissingDependencyError without the package gguf. Warns of metadata
    that is not known.
    """
    header = read_header(path)
    metadata = Metadata(header.fields, path)
    architecture = architecture_of(metadata)
    config = read_config(metadata, architecture, header.tensors)
    found = layouts(
        header.tensors.keys(),
        architecture,
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["num_key_value_heads"],
        path,
    )
    if (factors := _rope_factors(header, path)) is not None:
        if config["rope_scaling"] or len(factors) != config["head_dim"] // 2:
            raise CheckpointError(f"{path}: {ROPE_FACTORS} of shape {factors.shape} beside its rope scaling do not fit")
        config["rope_scaling"] = llama3_scaling(factors, config["rope_theta"], path)
    vocabulary = read_vocabulary(metadata, config["vocab_size"])
    tokenizer, special = _tokenizer(metadata, vocabulary)
    config |= {
        "bos_token_id": special.bos,
        "eos_token_id": special.ends[0] if len(special.ends) == 1 else list(special.ends),
        "pad_token_id": special.pad,
    }
    return GgufSource(
        path=path,
        config=config,
        checkpoint=GgufCheckpoint(path, header.tensors, found),
        tokenizer_json=tokenizer.to_str(),
        chat_template=metadata.text("tokenizer.chat_template"),
        special=special,
    )


def _rope_factors(header: Header, path: Path) -> Float32 | None:
    if ROPE_FACTORS not in header.tensors:
        return None
    place = header.tensors[ROPE_FACTORS]
    with GgufCheckpoint(path, header.tensors, {ROPE_FACTORS: Layout(ROPE_FACTORS)}) as checkpoint:
        factors = checkpoint.read(ROPE_FACTORS, place.shape)
    if factors.ndim != 1 or np.any(factors <= 0):
        raise CheckpointError(f"{path}: {ROPE_FACTORS} must be a row of numbers above 0")
    return factors


def _tokenizer(metadata: Metadata, vocabulary: Vocabulary) -> tuple[Tokenizer, SpecialTokens]:
    """The tokenizer with its start and end tokens, and the special tokens."""
    kind = metadata.text(_MODEL)
    if kind not in ("gpt2", "llama"):
        raise CheckpointError(
            f"{metadata.path}: {_MODEL} {kind!r:.80} is not supported, only gpt2 (byte-level pairs) and llama "
            "(SentencePiece's pairs with scores)"
        )
    if kind == "gpt2":
        words = pre_tokenizer_of(metadata)
        special = special_tokens(metadata, vocabulary, add_bos=words.add_bos)
        tokenizer = byte_pair_tokenizer(metadata, vocabulary, words)
    else:
        special = special_tokens(metadata, vocabulary, add_bos=True)
        tokenizer = piece_tokenizer(metadata, vocabulary)
    first = [vocabulary.tokens[special.bos]] if special.add_bos and special.bos is not None else []
    last = [vocabulary.tokens[special.eos]] if special.add_eos and special.eos is not None else []
    with one_error(lambda reason: CheckpointError(f"{metadata.path}: its tokenizer cannot be rebuilt ({reason})")):
        if first or last:
            tokenizer.post_processor = processors.TemplateProcessing(
                single=[*first, "$A", *last],
                special_tokens=[(token, vocabulary.ids[token]) for token in dict.fromkeys([*first, *last])],
            )
        check_parts(tokenizer)
    return tokenizer, special
