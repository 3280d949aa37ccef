"""The tiny T5, its initialization and its tokenizer."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import T5Config, T5ForConditionalGeneration

from edge_lorahub.tinyhub.vocabulary import EOS, PAD, UNK, vocabulary


def tiny_tokenizer() -> Tokenizer:
    """A word-level tokenizer that appends ``</s>``, as T5's does."""
    ids = {token: i for i, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNK))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, ids[EOS])])
    tokenizer.add_special_tokens([PAD, EOS, UNK])
    return tokenizer


def tiny_config() -> T5Config:
    """The base's configuration: 1.3 M parameters in the shape of Flan-T5."""
    return T5Config(
        vocab_size=len(vocabulary()),
        d_model=128,
        d_ff=256,
        d_kv=32,
        num_heads=4,
        num_layers=3,
        num_decoder_layers=3,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )


def new_base(seed: int) -> T5ForConditionalGeneration:
    """A base before training.

    The library's initialization leaves a model of this size at chance on position (first, last, copy) for
    100,000 examples: attention starts flat, and the relative position bias starts too small to break the tie.
    A wide position bias gives each head a place to look at from the first step on.
    """
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(tiny_config())
    with torch.no_grad():
        model.shared.weight.normal_(0.0, 0.3)
        model.lm_head.weight.normal_(0.0, model.config.d_model**-0.5)
        for name, parameter in model.named_parameters():
            if "relative_attention_bias" in name:
                parameter.normal_(0.0, 1.5)
    return model
