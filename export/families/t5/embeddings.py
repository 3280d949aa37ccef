"""Which tensors of a checkpoint are the embedding and the head: what the file holds decides, and then config.json."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from edge_lorahub.errors import CheckpointError, EdgeLorahubWarning

from ...source.model_source import Tensors
from .t5_config import T5Config

# One matrix under three names: savers keep one of them, or all.
_EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Embeddings:
    """Names of tensors. head is None where the head is the embedding; scaled: what it reads is divided by sqrt(d)."""

    embedding: str
    head: str | None
    scaled: bool


def find_embeddings(config: T5Config, checkpoint: Tensors) -> Embeddings:
    """Finds both in a checkpoint, in any of the layouts that transformers 4 and 5 and safetensors write.

    transformers 5 writes tie_word_embeddings: true for every T5, so a head of its own in the file counts for more.
    Raises CheckpointError where there is no embedding, no head that config.json asks for, or two embeddings.
    """
    tied = config.tie_word_embeddings
    if tied is None:
        tied = config.model_type == "t5" or config.transformers_major >= 5
    found = [name for name in _EMBEDDINGS if name in checkpoint]
    if not found and tied and HEAD in checkpoint:
        found = [HEAD]
    if not found:
        prefix = next(
            (name.removesuffix(end) for name in checkpoint.names for end in _EMBEDDINGS if name.endswith(end)), ""
        )
        raise CheckpointError(
            f"{checkpoint.folder}: no embedding: none of the tensors {', '.join(_EMBEDDINGS)} is there; "
            + (
                f"names begin with {prefix!r}, as a wrapper's do: save the model that is inside it"
                if prefix
                else "is the checkpoint complete?"
            )
        )
    embedding, *others = found
    for other in others:
        if not checkpoint.equal(embedding, other):
            raise CheckpointError(
                f"{checkpoint.folder}: tensors {embedding} and {other} differ, but {config.model_type} has one "
                "embedding for the encoder and the decoder; was the checkpoint merged from several?"
            )
    # a head that is tied may have been saved in another precision
    if embedding == HEAD or (HEAD in checkpoint and checkpoint.equal(embedding, HEAD, rounded=tied)):
        return Embeddings(embedding, None, _scaled_if_tied(config, tied))
    if HEAD in checkpoint:
        return Embeddings(embedding, HEAD, _scaled_if_untied(config, tied, checkpoint))
    if not tied:
        raise CheckpointError(
            f"{checkpoint.folder}: tensor {HEAD} is missing, and config.json does not say that the head is the "
            "embedding (tie_word_embeddings); is the checkpoint complete?"
        )
    return Embeddings(embedding, None, _scaled_if_tied(config, tied))


def _scaled_if_tied(config: T5Config, tied: bool) -> bool:
    """transformers 5 has a switch of its own for T5's scale, and never scales mT5."""
    if config.model_type == "mt5" and config.transformers_major >= 5:
        return False
    return tied if config.scale_decoder_outputs is None else config.scale_decoder_outputs


def _scaled_if_untied(config: T5Config, tied: bool, checkpoint: Tensors) -> bool:
    """Only where config.json says so outright, which it does of T5 alone."""
    if tied and config.scale_decoder_outputs is None and config.transformers_major < 5:
        warnings.warn(
            f"{checkpoint.folder}: by config.json the head is the embedding (tie_word_embeddings), but {HEAD} is in "
            "the file and differs from it; the file's is used, and what it reads is not scaled",
            EdgeLorahubWarning,
            stacklevel=3,
        )
    return config.model_type == "t5" and bool(config.scale_decoder_outputs)
