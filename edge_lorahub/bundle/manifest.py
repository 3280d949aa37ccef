"""The bundle's contract: what the exporter writes and the runtime reads.

A bundle is a folder of `manifest.json`, `weights.bin` (external data that all graphs share), `tokenizer.json`, and
an encoder's and a decoder's graph in several forms of their LoRA inputs. This file holds the manifest and the names
of the graphs' inputs and outputs, and nothing that needs more than the standard library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import BundleError, MissingPathError
from ..files.kinds import not_a_bundle
from ..files.outputs import read_json
from .field_checks import check_fields

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
ENCODER = "encoder.onnx"
DECODER = "decoder.onnx"
WEIGHTS = "weights.bin"
TOKENIZER = "tokenizer.json"
# The forms of the LoRA inputs, by the type of a slot's A and B, and their graphs. "none" is the plain model alone.
GRAPHS = {
    "float32": (ENCODER, DECODER),
    "none": ("encoder.plain.onnx", "decoder.plain.onnx"),
    "int8": ("encoder.int8_lora.onnx", "decoder.int8_lora.onnx"),
}
# The same for the loss of short answers: the cross-attention's key and value layers are absorbed by the decoder, which
# reads the encoder's states and has no past.
ABSORBED_GRAPHS = {
    "float32": ("encoder.absorbed.onnx", "decoder.absorbed.onnx"),
    "int8": ("encoder.int8_lora.absorbed.onnx", "decoder.int8_lora.absorbed.onnx"),
}
# the linear layers that can be slots, over all families
SLOT_KINDS = ("q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo")

# A weight starts at a multiple of it in weights.bin: ONNX Runtime maps external data by pages.
ALIGNMENT = 4096
# The embedding in weights.bin; a checkpoint may have it under another name.
EMBEDDING = "shared.weight"
EMBEDDING_ROWS = f"{EMBEDDING}.rows"  # in int8, each with a scale

# How the base's matrices are held: float32, or int8 with a scale for each output column.
PRECISIONS = ("fp32", "int8")


def graph_files(precision: str, *, absorbed: bool) -> dict[str, tuple[str, str]]:
    """The files of the encoder's and the decoder's graph, by the forms of LoRA inputs in a precision's bundles."""
    found = dict(ABSORBED_GRAPHS if absorbed else GRAPHS)
    if precision != "int8":
        del found["int8"]  # no quantised input for the LoRA to share
    return found


_MOST_LAYERS = 1000  # no model has more
_DIGEST = re.compile(r"[0-9a-f]{64}")
# Every file that a bundle may have.
BUNDLE_FILES = (
    MANIFEST,
    *(name for kind in (GRAPHS, ABSORBED_GRAPHS) for graphs in kind.values() for name in graphs),
    WEIGHTS,
    TOKENIZER,
)

# Graph inputs and outputs. B is the batch, S the new tokens, T the source tokens, C the tokens that a cache has room
# for, H the heads, K the size of a head, V the vocabulary, r a slot's rank (dynamic; 0 is the plain model).
INPUT_IDS = "input_ids"  # int64 (B, S)
PAST_TOKENS = "past_tokens"  # int64 (): how many tokens of the caches are there already
ATTENTION_MASK = "attention_mask"  # int64 (B, T): of the source, in both graphs; 1 real, 0 padding
LOGITS = "logits"  # float32 (B, S, V)
ENCODER_STATES = "encoder_states"  # float32 (B, T, d): absorbed encoder's output, absorbed decoder's input
PARTS = ("key", "value")


def cross_name(layer: int, part: str) -> str:
    """Cross-attention keys or values of a decoder layer, float32 (B, H, T, K): encoder output, decoder input."""
    return f"cross.{layer}.{part}"


def past_name(layer: int, part: str) -> str:
    """Cache of self-attention keys or values, float32 (B, H, C, K): decoder input.

    Bound to the memory of `present_name` too, C >= past + S: the new tokens' are added in place. Without a past C may
    be 0, and the output is memory of its own.
    """
    return f"past.{layer}.{part}"


def present_name(layer: int, part: str) -> str:
    """The cache with the new tokens' keys or values, float32 (B, H, C or S, K): decoder output."""
    return f"present.{layer}.{part}"


def lora_a_name(slot: str) -> str:
    """A of a slot, float32 or int8 (d_in, r)."""
    return f"{slot}.lora_A"


def lora_scale_name(slot: str) -> str:
    """The middle of a slot, float32 (r,): y = x W + ((x A) * scale) B. int8 A's and B's have their scales in it."""
    return f"{slot}.lora_scale"


def lora_b_name(slot: str) -> str:
    """B of a slot, float32 or int8 (r, d_out)."""
    return f"{slot}.lora_B"


@dataclass(frozen=True)
class Slot:
    """A linear layer of the bundle that takes a LoRA.

    name is the layer's path in the Hugging Face model (`encoder.block.0.layer.0.SelfAttention.q`). weight_offset is
    the position in bytes of its (d_in, d_out) weight in `weights.bin`, float32 or int8 by the manifest's precision.
    """

    name: str
    d_in: int
    d_out: int
    weight_offset: int

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def kind(self) -> str:
        """The last part of the name: q, k, v, o, wi, wi_0, wi_1 or wo."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class ModelConfig:
    """What the runtime needs to know of the model.

    eos_token_id ends every encoded text; end_token_ids end an answer, each of them, and () is eos_token_id alone.
    forced_bos_token_id and forced_eos_token_id are the first and the last token of every answer, None: whatever the
    model says. longest_input and longest_output are the most tokens for which there are relative positions, None: any
    number.
    """

    family: str
    base_model: str
    vocab_size: int
    decoder_layers: int
    heads: int
    head_size: int
    decoder_start_token_id: int
    eos_token_id: int
    pad_token_id: int
    end_token_ids: tuple[int, ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    longest_input: int | None = None
    longest_output: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.decoder_layers > _MOST_LAYERS:
            raise ValueError(f"decoder_layers is {self.decoder_layers}")
        tokens = (
            self.decoder_start_token_id, self.eos_token_id, self.pad_token_id, *self.end_token_ids,
            self.forced_bos_token_id, self.forced_eos_token_id,
        )  # fmt: skip
        for token in tokens:
            if token is not None and token >= self.vocab_size:
                raise ValueError(f"a token is {token}, but vocab_size is {self.vocab_size}")

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return self.end_token_ids or (self.eos_token_id,)


@dataclass(frozen=True)
class Baked:
    """An adapter that was merged into the bundle's weights: its name, and its `lora.identity`."""

    name: str
    sha256: str

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`, checked. sha256 has the digest of every other file of the bundle.

    baked has the adapters in the weights, in the order in which they were merged. weights_sample is the
    `weights_sample.sample_digest` of weights.bin, None in bundles of before there was one.
    """

    model: ModelConfig
    precision: str
    slots: tuple[Slot, ...]
    tool_version: str
    sha256: dict[str, str]
    format_version: int = FORMAT_VERSION
    baked: tuple[Baked, ...] = ()
    weights_sample: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @property
    def files(self) -> tuple[str, ...]:
        """All files of the bundle but the manifest."""
        kinds = (graph_files(self.precision, absorbed=absorbed) for absorbed in (False, True))
        return (*(name for kind in kinds for pair in kind.values() for name in pair), WEIGHTS, TOKENIZER)

    def adapting_form(self, composition: str) -> str:
        """The form in which to load the bundle for `adapt`. In exact composition int8 was faster at any rank."""
        return "int8" if self.precision == "int8" and composition == "exact" else "float32"

    def slot_kinds(self) -> list[str]:
        """The kinds of slots in the bundle, sorted: what `--slots` was."""
        return sorted({slot.kind for slot in self.slots})


def _model_config(record: dict[str, Any]) -> ModelConfig:
    ends = record.get("end_token_ids", [])
    if not isinstance(ends, list):
        raise ValueError(f"end_token_ids is {ends!r:.80}")
    return ModelConfig(**{**record, "end_token_ids": tuple(ends)})


def _digests(record: Mapping[str, Any]) -> dict[str, str]:
    """Digests by file. A name is one of a bundle's files, and so never leads out of its folder."""
    for name, digest in record.items():
        if name not in BUNDLE_FILES or name == MANIFEST:
            raise ValueError(f"sha256 names {name!r:.80}, which is no file of a bundle")
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise ValueError(f"sha256 of {name} is {digest!r:.80}")
    return dict(record)


def _sample(digest: object) -> str | None:
    if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise ValueError(f"weights_sample is {digest!r:.80}")
    return digest


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks a bundle's manifest, and that the bundle's other files are there.

    Raises MissingPathError if the folder is not there, BundleError for everything else that is wrong.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise (BundleError if folder.exists() else MissingPathError)(not_a_bundle(folder))
    record = read_json(path, BundleError)
    version = record.get("format_version")
    if version != FORMAT_VERSION:
        newer = isinstance(version, int) and version > FORMAT_VERSION
        raise BundleError(
            f"{path}: format version {version!r}, but this program reads {FORMAT_VERSION}; "
            + ("update edge-lorahub" if newer else "export the bundle again")
        )
    try:
        manifest = Manifest(
            model=_model_config(record["model"]),
            precision=str(record["precision"]),
            slots=tuple(Slot(**slot) for slot in record["slots"]),
            tool_version=str(record["tool_version"]),
            sha256=_digests(record["sha256"]),
            baked=tuple(Baked(**baked) for baked in record.get("baked", ())),
            weights_sample=_sample(record.get("weights_sample")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: a field is missing or wrong ({error}); export the bundle again") from error
    if len({slot.name for slot in manifest.slots}) < len(manifest.slots):
        raise BundleError(f"{path}: two slots have the same name; export the bundle again")
    if manifest.precision not in PRECISIONS:
        raise BundleError(
            f"{path}: precision {manifest.precision!r} is unknown, this program reads {' and '.join(PRECISIONS)}; "
            "export the bundle again"
        )
    if strange := sorted(set(manifest.sha256) - set(manifest.files)):
        raise BundleError(
            f"{path}: sha256 names {strange[0]}, which no bundle in {manifest.precision} has; export the bundle again"
        )
    for name in manifest.files:
        if name not in manifest.sha256 or not (folder / name).is_file():
            what = "no ordinary file" if (folder / name).exists() else "missing"
            raise BundleError(f"{folder}: {name} is {what}; export the bundle again")
    return manifest
