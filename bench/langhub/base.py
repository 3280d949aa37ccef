"""SmolLM2-135M-Instruct from its GGUF file, for training: weights, tokenizer and prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from edge_lorahub.bundle.prompt import Prompt
from edge_lorahub.errors import CheckpointError
from edge_lorahub.export.gguf import GgufSource, open_gguf
from edge_lorahub.export.gguf.gguf_chat_template import gguf_template
from edge_lorahub.export.prompts import freeze

# What the modules call their base.
BASE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Base:
    """A frozen language model, its tokenizer without special treatment, and how a question is put to it."""

    model: LlamaForCausalLM
    tokenizer: Tokenizer
    prompt: Prompt


def load_base(path: Path, dtype: torch.dtype = torch.float32) -> Base:
    """The model of a GGUF file with every parameter frozen; its weights are dequantized to ``dtype``.

    The weights are assigned one by one, so that no random numbers are drawn and no file is written.
    """
    source = open_gguf(path)
    config = LlamaConfig(**{k: v for k, v in source.config.items() if k != "architectures"})
    # The scores of short texts are cheap; torch's fused attention takes 1.4 times as long for a step in bfloat16.
    config._attn_implementation = "eager"
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    state = {}
    with source.checkpoint as checkpoint:
        for name in checkpoint.names:
            state[name] = torch.from_numpy(checkpoint.read(name, checkpoint.shape(name)).copy()).to(dtype)
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    # The rotary frequencies are no part of the state, so they are still on the meta device.
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    tokenizer = Tokenizer.from_str(source.tokenizer_json)
    return Base(model.eval().requires_grad_(False), tokenizer, _prompt(source, tokenizer))


def _prompt(source: GgufSource, tokenizer: Tokenizer) -> Prompt:
    """The texts that a bundle of the file has. Raises CheckpointError for a file without a chat template."""
    template = gguf_template(source)
    if template is None:
        raise CheckpointError(f"{source.path} has no chat template; give an instruction-tuned model")
    prompt: Prompt = freeze(template, tokenizer, source.special.ends)
    return prompt
