"""What GGUF calls the architectures and their tensors, and what Hugging Face calls them.

llama.cpp's converter changes two things that are put back here. It reorders the rows of q and k of the architectures
whose rotary embedding it computes on neighbors: a head's rows (2, K / 2) become (K / 2, 2). And it adds 1 to the
weights of Gemma's norms, which Hugging Face's Gemma does when it runs.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edge_lorahub.errors import CheckpointError

_LAYER = re.compile(r"blk\.(\d{1,5})\.([a-z_]+)\.(weight|bias)", re.ASCII)
_WHOLE_MODEL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
HEAD = "output.weight"
# Factors of the rotary embedding's frequencies, which the configuration has as rope_scaling.
ROPE_FACTORS = "rope_freqs.weight"
_ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_MLP = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_TWO_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_FOUR_NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}


@dataclass(frozen=True)
class Architecture:
    """How one architecture's tensors are named and laid out.

    layers are the tensors of a layer, GGUF's name to Hugging Face's. biases are the sets of linear layers that may
    have a bias: a file has one of these sets in every layer.
    """

    model_type: str
    class_name: str
    layers: dict[str, str]
    biases: tuple[frozenset[str], ...] = (frozenset(),)
    neighbors: bool = False  # q and k are reordered for a rotary embedding on neighbors
    added_one: bool = False  # norms are stored with 1 added


_PLAIN = {**_ATTENTION, **_MLP, **_TWO_NORMS}
_NONE, _ALL, _FFN = frozenset[str](), frozenset(_ATTENTION), frozenset(_MLP)
_LLAMA_BIASES = (_NONE, _ALL, _FFN, _ALL | _FFN)
ARCHITECTURES = {
    "llama": Architecture("llama", "LlamaForCausalLM", _PLAIN, _LLAMA_BIASES, neighbors=True),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", _PLAIN, (_ALL - {"attn_output"},)),
    "qwen3": Architecture("qwen3", "Qwen3ForCausalLM", {**_PLAIN, **_HEAD_NORMS}, (_NONE, _ALL)),
    "gemma": Architecture("gemma", "GemmaForCausalLM", _PLAIN, added_one=True),
    "gemma2": Architecture(
        "gemma2",
        "Gemma2ForCausalLM",
        {**_ATTENTION, **_MLP, **_FOUR_NORMS},
        added_one=True,
    ),
    "gemma3": Architecture(
        "gemma3_text",
        "Gemma3ForCausalLM",
        {**_ATTENTION, **_MLP, **_FOUR_NORMS, **_HEAD_NORMS},
        added_one=True,
    ),
    "granite": Architecture("granite", "GraniteForCausalLM", _PLAIN, _LLAMA_BIASES, neighbors=True),
}
SUPPORTED = "llama (Llama, SmolLM2, TinyLlama, Mistral), qwen2, qwen3, gemma, gemma2, gemma3 and granite"


@dataclass(frozen=True)
class Layout:
    """A tensor's name in Hugging Face's checkpoints, and what is to be put back: heads > 0 is a reordering."""

    name: str
    heads: int = 0
    minus_one: bool = False


def layouts(
    names: Collection[str], architecture: Architecture, layers: int, heads: int, kv_heads: int, path: Path
) -> dict[str, Layout]:
    """The layout of every tensor of a model but rope_freqs, by GGUF's name.

    Raises CheckpointError for tensors that are missing, and for those that the architecture does not have: a model
    with them computes something else.
    """
    found: dict[str, Layout] = {}
    biases: list[set[str]] = [set() for _ in range(layers)]
    for name in names:
        match = _LAYER.fullmatch(name)
        if name in _WHOLE_MODEL:
            minus_one = architecture.added_one and name == "output_norm.weight"
            found[name] = Layout(_WHOLE_MODEL[name], minus_one=minus_one)
        elif match and int(match[1]) < layers and match[2] in architecture.layers:
            part, end = match[2], match[3]
            if end == "bias":
                biases[int(match[1])].add(part)
            reordered = {"attn_q": heads, "attn_k": kv_heads}.get(part, 0) if architecture.neighbors else 0
            found[name] = Layout(
                f"model.layers.{int(match[1])}.{architecture.layers[part]}.{end}",
                reordered,
                architecture.added_one and part.endswith("norm"),
            )
        elif name != ROPE_FACTORS:
            raise CheckpointError(
                f"{path}: tensor {name:.80} is none of a {architecture.model_type} of {layers} layers; a model with it "
                "is not supported"
            )
    _check_all_there(found, architecture, layers, path)
    if len({layout.name for layout in found.values()}) != len(found):
        raise CheckpointError(f"{path}: a layer's number is written in two ways, and its tensors are there twice")
    if any(those != biases[0] for those in biases) or biases[0] not in architecture.biases:
        named = ", ".join(sorted(set().union(*biases))) or "no linear layer"
        raise CheckpointError(f"{path}: {architecture.model_type} with biases of {named} is not supported")
    return found


def _check_all_there(found: Collection[str], architecture: Architecture, layers: int, path: Path) -> None:
    needed = ["token_embd.weight", "output_norm.weight"]
    needed += [f"blk.{layer}.{part}.weight" for layer in range(layers) for part in architecture.layers]
    if missing := [name for name in needed if name not in found]:
        raise CheckpointError(
            f"{path}: {len(missing)} tensors are missing ({missing[0]}, for example) that a "
            f"{architecture.model_type} of {layers} layers has; download or convert it again"
        )
