"""What the exporter needs of a T5 checkpoint's config.json, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError
from edge_lorahub.files import read_json

FAMILIES = ("t5", "mt5")
# feed_forward_proj in config.json -> (gated?, activation)
ACTIVATIONS = {"relu": (False, "relu"), "gated-gelu": (True, "gelu_new")}
ATTENTION_SLOTS = ("q", "k", "v", "o")


@dataclass(frozen=True)
class T5Config:
    """The dimensions and switches of a T5 encoder-decoder; the names are those of config.json."""

    model_type: str
    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_heads: int
    num_layers: int
    num_decoder_layers: int
    relative_attention_num_buckets: int
    relative_attention_max_distance: int
    layer_norm_epsilon: float
    gated: bool
    activation: str
    tied_head: bool
    scaled_head: bool
    pad_token_id: int
    eos_token_id: int
    decoder_start_token_id: int
    name: str

    @property
    def inner(self) -> int:
        """The width of all heads together: flan-t5-small's is 384 at a d_model of 512."""
        return self.num_heads * self.d_kv

    @property
    def slot_kinds(self) -> tuple[str, ...]:
        """The kinds of linear layers that can be slots in this family."""
        return (*ATTENTION_SLOTS, *(("wi_0", "wi_1") if self.gated else ("wi",)), "wo")


def read_t5_config(folder: Path) -> T5Config:
    """Reads config.json; what cannot be exported is refused by name."""
    path = folder / "config.json"
    fields = read_json(path, CheckpointError)
    model_type = fields.get("model_type")
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"{path}: model_type {model_type!r} is not supported; "
            f"edge-lorahub exports {' and '.join(FAMILIES)} (Flan-T5 is t5)"
        )
    feed_forward = fields.get("feed_forward_proj", "relu" if model_type == "t5" else "gated-gelu")
    if not isinstance(feed_forward, str) or feed_forward not in ACTIVATIONS:
        raise CheckpointError(
            f"{path}: feed_forward_proj {feed_forward!r} is not supported, only {', '.join(ACTIVATIONS)}"
        )
    gated, activation = ACTIVATIONS[feed_forward]
    tied = bool(fields.get("tie_word_embeddings", model_type == "t5"))
    epsilon = fields.get("layer_norm_epsilon", 1e-6)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise CheckpointError(f"{path}: layer_norm_epsilon must be a small positive number, got {epsilon!r}")
    d_kv = _whole(fields, "d_kv", path)
    if d_kv % 8:
        raise CheckpointError(f"{path}: d_kv is {d_kv}; onnxruntime's attention wants a multiple of 8")
    layers = _whole(fields, "num_layers", path)
    return T5Config(
        model_type=model_type,
        vocab_size=_whole(fields, "vocab_size", path),
        d_model=_whole(fields, "d_model", path),
        d_kv=d_kv,
        d_ff=_whole(fields, "d_ff", path),
        num_heads=_whole(fields, "num_heads", path),
        num_layers=layers,
        num_decoder_layers=_whole(fields, "num_decoder_layers", path, layers),
        relative_attention_num_buckets=_whole(fields, "relative_attention_num_buckets", path, 32),
        relative_attention_max_distance=_whole(fields, "relative_attention_max_distance", path, 128),
        layer_norm_epsilon=epsilon,
        gated=gated,
        activation=activation,
        tied_head=tied,
        # transformers 5 writes the switch for the scale apart from the one for the tie
        scaled_head=bool(fields.get("scale_decoder_outputs", tied)),
        pad_token_id=_whole(fields, "pad_token_id", path, 0, least=0),
        eos_token_id=_whole(fields, "eos_token_id", path, 1, least=0),
        decoder_start_token_id=_whole(fields, "decoder_start_token_id", path, 0, least=0),
        name=str(fields.get("_name_or_path") or ""),
    )


def _whole(fields: dict[str, Any], key: str, path: Path, default: int | None = None, least: int = 1) -> int:
    value = fields.get(key)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise CheckpointError(f"{path}: {key} must be a whole number of at least {least}, got {value!r}")
    return value
