"""The bundle's manifest: what the exporter writes and the runtime reads.

A bundle is a folder of `manifest.json`, `weights.bin` (external data that all graphs share), `tokenizer.json`, and the
graphs of each role in their variants. Needs nothing but the standard library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BundleError, MissingPathError, SettingsError
from ..files.kinds import not_a_bundle
from ..files.outputs import read_json
from .architectures import ARCHITECTURES, GRAPH_FILES, PRECISIONS
from .field_checks import check_fields
from .graphs import ROLES, Graph, Variant
from .prompt import Prompt

FORMAT_VERSION = 3
MANIFEST = "manifest.json"
WEIGHTS = "weights.bin"
TOKENIZER = "tokenizer.json"
# Every file that a bundle may have.
BUNDLE_FILES = (MANIFEST, *GRAPH_FILES, WEIGHTS, TOKENIZER)

# A weight starts at a multiple of it in weights.bin: ONNX Runtime maps external data by pages.
ALIGNMENT = 4096
# The embedding in weights.bin; a checkpoint may have it under another name.
EMBEDDING = "shared.weight"
EMBEDDING_ROWS = f"{EMBEDDING}.rows"  # in int8, each with a scale

_DIGEST = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}")
# No model has more layers.
_MOST_LAYERS = 1000


@dataclass(frozen=True)
class Slot:
    """A linear layer of the bundle that takes a LoRA.

    name is the layer's path in the Hugging Face model (`encoder.block.0.layer.0.SelfAttention.q`), kind what such
    layers are called in the family (`q`). weight_offset is the position in bytes of its (d_in, d_out) weight in
    `weights.bin`, float32 or int8 by the manifest's precision.
    """

    name: str
    kind: str
    d_in: int
    d_out: int
    weight_offset: int

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class ModelConfig:
    """What the runtime needs to know of the model.

    layers, kv_heads and head_size are those of the cache of keys and values. start_token_id begins every answer, None:
    the prompt does. eos_token_id ends every text that is to be answered with; end_token_ids end an answer, each of
    them. forced_bos_token_id and forced_eos_token_id are the first and the last token of every answer, None: whatever
    the model says. longest_input and longest_output are the most tokens for which there are positions, and longest_text
    those of a prompt and its answer together; None: any number.
    """

    family: str
    base_model: str
    vocab_size: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    start_token_id: int | None
    eos_token_id: int
    pad_token_id: int
    end_token_ids: tuple[int, ...]
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    longest_input: int | None = None
    longest_output: int | None = None
    longest_text: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.layers > _MOST_LAYERS:
            raise ValueError(f"layers is {self.layers}")
        if not self.end_token_ids:
            raise ValueError("end_token_ids is empty")
        tokens = (
            self.start_token_id, self.eos_token_id, self.pad_token_id, *self.end_token_ids,
            self.forced_bos_token_id, self.forced_eos_token_id,
        )  # fmt: skip
        for token in tokens:
            if token is not None and token >= self.vocab_size:
                raise ValueError(f"a token is {token}, but vocab_size is {self.vocab_size}")


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

    architecture is one of ARCHITECTURES: how the runtime runs the graphs. slot_kinds has every kind of linear layer
    that can be a slot in this family, whether or not it is one in this bundle. least_onnxruntime is the oldest version
    that computes this family rightly. prompt is that of the model's chat template; a plain one: it has none. baked has
    the adapters in the weights, in the order in which they were merged. weights_sample is the
    `weights_sample.sample_digest` of weights.bin.
    """

    architecture: str
    model: ModelConfig
    precision: str
    slots: tuple[Slot, ...]
    slot_kinds: tuple[str, ...]
    graphs: tuple[Graph, ...]
    tool_version: str
    sha256: dict[str, str]
    least_onnxruntime: str
    prompt: Prompt = field(default_factory=Prompt)
    format_version: int = FORMAT_VERSION
    baked: tuple[Baked, ...] = ()
    weights_sample: str | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @property
    def files(self) -> tuple[str, ...]:
        """All files of the bundle but the manifest, each once."""
        return (*self.graph_files, WEIGHTS, TOKENIZER)

    @property
    def graph_files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for graph in self.graphs for name in graph.files))

    def graph(self, role: str, variant: Variant) -> Graph:
        """The graph of a role in a variant. Raises SettingsError if the bundle has none."""
        for graph in self.graphs:
            if (graph.role, graph.variant) == (role, variant):
                return graph
        known = " or ".join(str(graph.variant) for graph in self.graphs if graph.role == role)
        raise SettingsError(f"a bundle in {self.precision} has no graphs to {role} with {variant}, but with {known}")

    def kinds(self) -> list[str]:
        """The kinds of slots in the bundle, sorted: what `--slots` was."""
        return sorted({slot.kind for slot in self.slots})


def _model_config(record: dict[str, Any]) -> ModelConfig:
    return ModelConfig(**{**record, "end_token_ids": _tuple(record["end_token_ids"], "end_token_ids")})


def _graph(record: dict[str, Any]) -> Graph:
    return Graph(**{**record, "files": _tuple(record["files"], "a graph's files")})


def _tuple(value: Any, what: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is {value!r:.80}")
    return tuple(value)


def _texts(value: Any, what: str) -> tuple[str, ...]:
    found = _tuple(value, what)
    if not all(isinstance(text, str) for text in found):
        raise ValueError(f"{what} is {value!r:.80}")
    return found


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
            architecture=str(record["architecture"]),
            model=_model_config(record["model"]),
            precision=str(record["precision"]),
            slots=tuple(Slot(**slot) for slot in record["slots"]),
            slot_kinds=_texts(record["slot_kinds"], "slot_kinds"),
            graphs=tuple(_graph(graph) for graph in record["graphs"]),
            tool_version=str(record["tool_version"]),
            sha256=_digests(record["sha256"]),
            least_onnxruntime=str(record["least_onnxruntime"]),
            prompt=Prompt.of(record["prompt"]),
            baked=tuple(Baked(**baked) for baked in record.get("baked", ())),
            weights_sample=_sample(record.get("weights_sample")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: a field is missing or wrong ({error}); export the bundle again") from error
    if problem := _problem(manifest):
        raise BundleError(f"{path}: {problem}; export the bundle again")
    for name in manifest.files:
        if name not in manifest.sha256 or not (folder / name).is_file():
            what = "no ordinary file" if (folder / name).exists() else "missing"
            raise BundleError(f"{folder}: {name} is {what}; export the bundle again")
    return manifest


def _problem(manifest: Manifest) -> str | None:
    """What is wrong with a manifest whose fields have the right types."""
    for name, value, known in (
        ("precision", manifest.precision, PRECISIONS),
        ("architecture", manifest.architecture, ARCHITECTURES),
    ):
        if value not in known:
            return f"{name} {value!r:.40} is unknown, this program reads {' and '.join(known)}"
    if not _VERSION.fullmatch(manifest.least_onnxruntime):
        return f"least_onnxruntime is {manifest.least_onnxruntime!r:.40}"
    if len({slot.name for slot in manifest.slots}) < len(manifest.slots):
        return "two slots have the same name"
    if len({(graph.role, graph.variant) for graph in manifest.graphs}) < len(manifest.graphs):
        return "two graphs are of the same role and variant"
    if missing := [role for role in ROLES if role not in {graph.role for graph in manifest.graphs}]:
        return f"no graph to {missing[0]}"
    if strange := sorted(set(manifest.files) - set(BUNDLE_FILES)):
        return f"a graph is in {strange[0]}, which is no file of a bundle"
    if strange := sorted(set(manifest.sha256) - set(manifest.files)):
        return f"sha256 names {strange[0]}, which is no file of this bundle"
    return None
