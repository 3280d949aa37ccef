"""What all families have in common whose layers are named and built as Llama's."""

from __future__ import annotations

from ..blocks.decoder_config import DecoderConfig, Names
from .config_fields import ConfigFields
from .rope_fields import FULL, SLIDING, read_rope

NAMES = Names(
    linear={
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
        "gate": "mlp.gate_proj",
        "up": "mlp.up_proj",
        "down": "mlp.down_proj",
    },
    attention_norm="input_layernorm",
    feed_forward_norm="post_attention_layernorm",
)
# No model has more.
_MOST_LAYERS = 1000
ATTENTION = frozenset({"q", "k", "v", "o"})
FEED_FORWARD = frozenset({"gate", "up", "down"})


def read_llama_like(
    fields: ConfigFields,
    *,
    positions: int,
    kv_heads: int | None = None,
    head_size: int | None = None,
    activation: str | None = "silu",
    tied: bool = False,
    theta: float | None = 10000.0,
) -> DecoderConfig:
    """The common fields, with a class's defaults where config.json does not say.

    kv_heads None: as many as heads; head_size None: hidden_size / num_attention_heads. activation None and theta None:
    the family reads activation and rotary positions itself, and until then there are none. No layer has a window or
    a bias.
    """
    width, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
    layers = fields.whole("num_hidden_layers", most=_MOST_LAYERS)
    size = fields.whole("head_dim", head_size or max(1, width // heads))
    said = fields.value("tie_word_embeddings")
    return DecoderConfig(
        model_type=str(fields.value("model_type")),
        vocab_size=fields.whole("vocab_size"),
        width=width,
        inner=fields.whole("intermediate_size"),
        heads=heads,
        kv_heads=fields.whole("num_key_value_heads", kv_heads or heads),
        head_size=size,
        epsilon=fields.number("rms_norm_eps", 1e-6),
        activation="" if activation is None else fields.activation("hidden_act", activation),
        positions=fields.whole("max_position_embeddings", positions),
        ropes=() if theta is None else (read_rope(fields, size, theta),) * layers,
        windows=(None,) * layers,
        score_scale=size**-0.5,
        tied=None if said is None else fields.flag("tie_word_embeddings", tied),
        tied_by_default=tied,
        names=NAMES,
    )


def read_windows(fields: ConfigFields, default: list[str], window: int | None) -> tuple[int | None, ...]:
    """The windows by layer, from layer_types or else `default`: SLIDING has that window, FULL has none."""
    kinds = fields.layer_kinds(len(default), (SLIDING, FULL)) or default
    if window is None and SLIDING in kinds:
        raise fields.error(f"layer_types has {SLIDING}, but there is no sliding_window")
    return tuple(window if kind == SLIDING else None for kind in kinds)


def refuse_windows(fields: ConfigFields) -> None:
    """For families whose classes in transformers know no windows."""
    for key in ("sliding_window", "use_sliding_window"):
        fields.refuse(key, f"{fields.value('model_type')} has no windows in transformers")
    if (kinds := fields.value("layer_types")) is not None:
        fields.layer_kinds(len(kinds) if isinstance(kinds, list) else 0, (FULL,))
