"""What the graphs of encoder-decoders read and give, and their files.

An encoder's graph makes of the source what the decoder's graph reads: the cross-attention's keys and values of every
layer, or the states themselves in the variant for short outputs. B is the batch, S the new tokens, T the source tokens,
C the tokens that a cache has room for, H the heads, K the size of a head, V the vocabulary, d the model's width.
`graphs.INPUT_IDS` is (B, S) or (B, T), `graphs.LOGITS` (B, S, V); a cache with S more tokens is (B, H, C or S, K).
"""

from __future__ import annotations

from .graphs import Graph

PAST_TOKENS = "past_tokens"  # int64 (): how many tokens of the caches are there already, the same in every row
ATTENTION_MASK = "attention_mask"  # int64 (B, T): of the source, in both graphs; 1 real, 0 padding
ENCODER_STATES = "encoder_states"  # float32 (B, T, d): for short outputs, the encoder's output, the decoder's input


def cross_name(layer: int, part: str) -> str:
    """Cross-attention keys or values of a decoder layer, float32 (B, H, T, K): encoder output, decoder input."""
    return f"cross.{layer}.{part}"


TASK_TYPE = "SEQ_2_SEQ_LM"  # peft's
# How the paths of T5's linear layers begin; in other models the path begins with "model".
ROOTS = (("encoder", "block"), ("decoder", "block"))
# Of the decoder's layers those with keys and values of the source, which the encoder's graph computes.
SOURCE_LAYERS = "EncDecAttention"

_MARKS = {"float32": "", "none": ".plain", "int8": ".int8_lora"}


def graphs(precision: str) -> tuple[Graph, ...]:
    """The graphs of a bundle in a precision; in fp32 there is no quantized input for a LoRA in int8 to share."""
    found = []
    for lora_type in ("float32", "none", *(["int8"] if precision == "int8" else [])):
        for short in (False, True)[: 1 if lora_type == "none" else 2]:
            mark = f"{_MARKS[lora_type]}{'.absorbed' if short else ''}"
            files = f"encoder{mark}.onnx", f"decoder{mark}.onnx"
            found.append(Graph("score", lora_type, short, files))
            if not short and lora_type != "int8":
                found.append(Graph("generate", lora_type, short, files))
    return tuple(found)
