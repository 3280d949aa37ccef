"""The whole export: a checkpoint's folder or Hub id in, a bundle's folder out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_lorahub._version import __version__
from edge_lorahub.bundle import encoder_decoder
from edge_lorahub.bundle.architectures import ENCODER_DECODER, PRECISIONS
from edge_lorahub.bundle.manifest import BUNDLE_FILES, MANIFEST, TOKENIZER, WEIGHTS, Manifest, ModelConfig, Slot
from edge_lorahub.bundle.weights_sample import sample_digest
from edge_lorahub.errors import EdgeLorahubWarning, SettingsError
from edge_lorahub.files.outputs import check_output_folder, output_folder, sha256

from .blocks.onnx_graph import WeightFile
from .families.t5.config import T5Config, read_t5_config
from .families.t5.embeddings import find_embeddings
from .families.t5.graphs import T5Graphs
from .source.checkpoint import Checkpoint
from .source.generation_config import read_special_tokens
from .source.refusals import check_weights, source_folder
from .source.tokenizer import write_tokenizer

DEFAULT_SLOTS = ("q", "v")
# of ONNX's opset 23, for its Attention
LEAST_ONNXRUNTIME = "1.23"
# In the published T5 checkpoints, and used by no version of the model.
_LEFT_OVER = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)


def export(
    source: str | Path,
    out: str | Path,
    *,
    slots: Sequence[str] = DEFAULT_SLOTS,
    precision: str = "fp32",
    revision: str | None = None,
    force: bool = False,
    check: Callable[[Path], None] | None = None,
) -> Manifest:
    """Writes a bundle from a Hugging Face checkpoint.

    source is a local folder or a Hub id, slots the kinds of linear layers that take a LoRA (of q, k, v, o,
    wi, wi_0, wi_1, wo, as far as the family has them). precision "int8" holds the base's matrices in eight bits;
    norms and attention stay float32, and so does LoRA but in the graphs that adapt uses. check gets the finished
    folder before it becomes `out`; what it raises leaves no bundle.
    Raises CheckpointError, SettingsError, MissingPathError, MissingDependencyError, OutputExistsError or HubError;
    `out` appears only when it is complete.
    """
    out = Path(out)
    if precision not in PRECISIONS:
        raise SettingsError(f"precision {precision!r} is unknown; choose {' or '.join(PRECISIONS)}")
    check_output_folder(out, force=force, names=BUNDLE_FILES)  # before a download
    folder = source_folder(source, revision)
    config = read_t5_config(folder)
    special = read_special_tokens(folder, config.vocab_size)
    _check_slots(slots, config)
    check_weights(source, folder, revision)
    with output_folder(out, force=force, names=BUNDLE_FILES) as work, Checkpoint(folder) as checkpoint:
        embeddings = find_embeddings(config, checkpoint)
        eos = write_tokenizer(folder, work / TOKENIZER, config.vocab_size, special.end_token_ids)
        weights = WeightFile(work / WEIGHTS)
        try:
            found: list[Slot] = []
            graphs = encoder_decoder.graphs(precision)
            # the graphs of one variant serve both roles
            for (encoder, decoder), variant in {graph.files: graph.variant for graph in graphs}.items():
                writer = T5Graphs(config, checkpoint, embeddings, weights, slots, precision, variant)
                writer.encoder().save(work / encoder)
                writer.decoder().save(work / decoder)
                found = found or writer.slots
        finally:
            digest = weights.close()
        _warn_of_unused(folder, checkpoint)
        manifest = Manifest(
            architecture=ENCODER_DECODER,
            model=ModelConfig(
                family=config.model_type,
                base_model=_base_model(source, config),
                vocab_size=config.vocab_size,
                layers=config.num_decoder_layers,
                heads=config.num_heads,
                kv_heads=config.num_heads,
                head_size=config.d_kv,
                start_token_id=special.decoder_start_token_id,
                eos_token_id=eos,
                pad_token_id=special.pad_token_id,
                end_token_ids=special.end_token_ids,
                forced_bos_token_id=special.forced_bos_token_id,
                forced_eos_token_id=special.forced_eos_token_id,
                longest_input=config.reach("encoder").longest,
                longest_output=config.reach("decoder").longest,
            ),
            precision=precision,
            slots=tuple(found),
            slot_kinds=config.slot_kinds,
            graphs=graphs,
            least_onnxruntime=LEAST_ONNXRUNTIME,
            tool_version=__version__,
            sha256={
                name: digest if name == WEIGHTS else sha256(work / name)
                for name in BUNDLE_FILES
                if (work / name).is_file()
            },
            weights_sample=sample_digest(work / WEIGHTS),
        )
        (work / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        if check is not None:
            check(work)
    return manifest


def _base_model(source: str | Path, config: T5Config) -> str:
    """The Hub id, or for a local folder what its config.json says it came from, or its name.

    The Hub's fine-tuned models often keep their parent's name in config.json, so there the id goes first.
    """
    if Path(source).expanduser().is_dir():
        return config.name or str(source)
    return str(source)


def _warn_of_unused(folder: Path, checkpoint: Checkpoint) -> None:
    """Tensors that T5 has no place for: more layers than config.json says, biases, an adapter that is not merged."""
    unused = [name for name in checkpoint.unused() if name not in _LEFT_OVER]
    if unused:
        warnings.warn(
            f"{folder}: {len(unused)} of its tensors are no part of the model that config.json describes, and are not "
            f"used: {', '.join(unused[:3])}{', ...' if len(unused) > 3 else ''}",
            EdgeLorahubWarning,
            stacklevel=3,
        )


def _check_slots(slots: Sequence[str], config: T5Config) -> None:
    if not slots:
        raise SettingsError(f"no slots; name at least one of {', '.join(config.slot_kinds)}")
    unknown = [slot for slot in slots if slot not in config.slot_kinds]
    if unknown:
        raise SettingsError(
            f"unknown slot {', '.join(map(repr, unknown))}; this checkpoint has {', '.join(config.slot_kinds)}"
        )
