"""A decoder-only model in one description, which every family reads its config.json into and the graphs are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_lorahub.errors import CheckpointError

from .form import LayerSlot
from .rotary import Rope

# Tables of positions end here, whatever a model can do: those of 131,072 positions would be 67 MB of a 0.3 GB model.
MOST_POSITIONS = 4096
# onnxruntime's GroupQueryAttention turns heads of such sizes alone.
_HEAD_MULTIPLE = 16


@dataclass(frozen=True)
class Names:
    """The names of a checkpoint's tensors, without `.weight` and `.bias`.

    prefix: of all but the head; files of the model without its head leave it out. block has {} for the layer's number;
    what follows is below it. linear: the paths of q, k, v, o, gate, up and down.
    """

    linear: Mapping[str, str]
    attention_norm: str
    feed_forward_norm: str
    prefix: str = "model"
    embedding: str = "embed_tokens"
    final_norm: str = "norm"
    head: str = "lm_head"
    block: str = "layers.{}"
    q_norm: str = "self_attn.q_norm"
    k_norm: str = "self_attn.k_norm"
    attention_output_norm: str = ""
    feed_forward_output_norm: str = ""

    def layer(self, number: int, name: str) -> str:
        """The path of what is called so in a layer."""
        return f"{self.prefix}.{self.block.format(number)}.{name}"


@dataclass(frozen=True)
class DecoderConfig:
    """Dimensions and switches of a decoder-only model, checked. By layer: ropes and windows.

    width d, inner: of the feed-forward; positions: the most that the model was made for. windows: a token attends to
    itself and to so many tokens before it, less one; None: to all. tied: whether the head is the embedding, None where
    config.json does not say, and tied_by_default is transformers' default.
    """

    model_type: str
    vocab_size: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_size: int
    epsilon: float
    activation: str
    positions: int
    ropes: tuple[Rope, ...]
    windows: tuple[int | None, ...]
    score_scale: float  # what q . k is multiplied by
    tied: bool | None
    tied_by_default: bool
    names: Names
    biases: frozenset[str] = field(default_factory=frozenset)  # of q, k, v, o, gate, up, down
    norms_less_one: bool = False  # the norms' weights are stored less 1
    head_norms: bool = False  # queries and keys are normed by head
    output_norms: bool = False  # what attention and feed-forward give is normed
    embedding_scale: float = 1.0
    residual_scale: float = 1.0  # of what a layer adds
    logit_scale: float = 1.0
    score_cap: float | None = None  # c tanh(x / c) of the scores
    logit_cap: float | None = None

    @property
    def layers(self) -> int:
        return len(self.windows)

    @property
    def longest(self) -> int:
        """The most tokens of a text with its answer."""
        return min(self.positions, MOST_POSITIONS)

    def window(self, layer: int) -> int | None:
        """A layer's window, where there are texts longer than it."""
        window = self.windows[layer]
        return None if window is None or window >= self.longest else window

    def slots(self) -> tuple[LayerSlot, ...]:
        """All linear layers of all layers, in the order in which they run."""
        return tuple(self.slot(layer, part) for layer in range(self.layers) for part in self.names.linear)

    def slot(self, layer: int, part: str) -> LayerSlot:
        """The linear layer q, k, v, o, gate, up or down of a layer."""
        name = self.names.linear[part]
        return LayerSlot(self.names.layer(layer, name), name.rpartition(".")[2], *self._sides(part))

    def _sides(self, part: str) -> tuple[int, int]:
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        return {
            "q": (self.width, queries),
            "k": (self.width, keys),
            "v": (self.width, keys),
            "o": (queries, self.width),
            "gate": (self.width, self.inner),
            "up": (self.width, self.inner),
            "down": (self.inner, self.width),
        }[part]

    def least_onnxruntime(self) -> tuple[int, int]:
        """The first version that is right: before 1.24 GroupQueryAttention's window is one token off.

        Before 1.27 ONNX's Attention is wrong with a cap on the scores.
        """
        if self.score_cap is not None:
            return 1, 27
        if any(self.window(layer) is not None for layer in range(self.layers)):
            return 1, 24
        return 1, 23

    def check(self, where: object) -> None:
        """Raises CheckpointError for heads that the graphs cannot have."""
        if self.head_size % _HEAD_MULTIPLE:
            raise CheckpointError(
                f"{where}: heads of {self.head_size} numbers (head_dim) are not supported; onnxruntime's attention "
                f"wants a multiple of {_HEAD_MULTIPLE}"
            )
        if self.heads % self.kv_heads:
            raise CheckpointError(
                f"{where}: num_attention_heads is {self.heads}, no multiple of num_key_value_heads, {self.kv_heads}"
            )
