"""What the graphs of decoder-only models read and give, beside the names that all models share, and their files.

N is the packed tokens of a batch, each distinct beginning of a text once; B its texts, T the places of the longest of
them; M the label tokens of all texts, L those of the text with the most. While generating, S is the new tokens of a
text, C the tokens that a cache has room for. V is the vocabulary.
"""

from __future__ import annotations

from .graphs import Graph

# "score": input_ids int64 (N,) and what follows -> logits float32 (M, V), those that predict the label tokens.
POSITIONS = "positions"  # int64 (N,): each packed token's place in its text
ROWS = "rows"  # int64 (B, T): the packed token at each place of the texts; behind a text's end any
PLACES = "places"  # int64 (N,): a place of each packed token, counted through (B, T)
SCORED = "scored"  # int64 (M,): the packed token before each label token, text by text
SCORED_ROWS = "scored_rows"  # int64 (B, L): which of the M is each text's first, second, ...; behind its last any
SCORED_PLACES = "scored_places"  # int64 (M,): where each of the M stands, counted through (B, L)

# "generate": input_ids int64 (B, S) and what follows, caches -> logits float32 (B, V), those of each text's last token.
ENDS = "ends"  # int32 (B,): the place of each text's last token in its cache, this run's tokens counted
TOTAL = "total"  # int32 (): S where there is no past; else the most tokens of a text, max(ends) + 1
LAST = "last"  # int64 (B,): each text's last token, counted through (B, S)

TASK_TYPE = "CAUSAL_LM"  # peft's

_MARKS = {"float32": "", "none": ".plain", "int8": ".int8_lora"}


def graphs(precision: str) -> tuple[Graph, ...]:
    """The graphs of a bundle in a precision; in fp32 there is no quantized input for a LoRA in int8 to share."""
    types = {"score": ("float32", "none", *(["int8"] if precision == "int8" else [])), "generate": ("float32", "none")}
    return tuple(
        Graph(role, lora_type, False, (f"{role}{_MARKS[lora_type]}.onnx",))
        for role, found in types.items()
        for lora_type in found
    )
