"""Whether a bundle's manifest describes its graphs and weights, looked at before ONNX Runtime gets them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import BundleError
from ..machine.onnx_runtime import ort
from .graph_file import TYPES, Weight, check_overlap, read_graph
from .manifest import (
    ATTENTION_MASK,
    EMBEDDING,
    EMBEDDING_ROWS,
    ENCODER_STATES,
    INPUT_IDS,
    LOGITS,
    PARTS,
    PAST_TOKENS,
    WEIGHTS,
    Manifest,
    cross_name,
    lora_a_name,
    lora_b_name,
    lora_scale_name,
    past_name,
    present_name,
)


def check_graph_files(folder: Path, manifest: Manifest, graphs: Sequence[str]) -> None:
    """Checks the encoder's and the decoder's graph of one form, and what the manifest says of their weights.

    Raises BundleError for operators that the exporter does not write, and for weights, slots or a vocabulary other
    than the manifest's.
    """
    size = (folder / WEIGHTS).stat().st_size
    weights: dict[str, Weight] = {}
    for name in graphs:
        for key, weight in read_graph(folder / name, size).items():
            if weights.setdefault(key, weight) != weight:
                raise BundleError(f"{folder}: its graphs differ about the weight {key!r:.80}; export the bundle again")
    check_overlap(folder / graphs[0], weights)
    end = max((weight.offset + weight.length for weight in weights.values()), default=0)
    if end != size:
        raise BundleError(
            f"{folder / WEIGHTS}: {size} bytes, but its graphs describe {end}; copy it again, or export again"
        )
    kind = TYPES["int8" if manifest.precision == "int8" else "float32"]
    for slot in manifest.slots:
        named = weights.get(f"{slot.name}.weight")
        found = named and (named.offset, named.shape, named.type)
        if found != (slot.weight_offset, (slot.d_in, slot.d_out), kind):
            raise _differ(folder, f"slot {slot.name}")
    rows = weights.get(EMBEDDING) or weights.get(EMBEDDING_ROWS)
    if rows is None or rows.shape[:1] != (manifest.model.vocab_size,):
        raise _differ(folder, "vocab_size")


# A value's type, as ONNX Runtime calls it, and its shape.
_Value = tuple[str, tuple[int | str, ...]]
_FLOAT, _IDS, _INT8 = "tensor(float)", "tensor(int64)", "tensor(int8)"


def check_sessions(
    folder: Path,
    manifest: Manifest,
    encoder: ort.InferenceSession,
    decoder: ort.InferenceSession,
    *,
    lora: str,
    absorbed: bool,
) -> None:
    """Compares what the graphs read and give, by name, type and shape, with the manifest. Raises BundleError."""
    model = manifest.model
    mask: dict[str, _Value] = {ATTENTION_MASK: (_IDS, ("B", "T"))}
    reads = {INPUT_IDS: (_IDS, ("B", "S")), **mask}
    gives: dict[str, _Value] = {LOGITS: (_FLOAT, ("B", "S", model.vocab_size))}
    cross: dict[str, _Value] = {}
    if absorbed:
        width = next((tuple(o.shape)[-1] for o in encoder.get_outputs()), 0)
        cross[ENCODER_STATES] = (_FLOAT, ("B", "T", width))
    else:
        reads[PAST_TOKENS] = (_IDS, ())
        for layer in range(model.decoder_layers):
            for part in PARTS:
                heads, size = model.heads, model.head_size
                cross[cross_name(layer, part)] = (_FLOAT, ("B", heads, "T", size))
                reads[past_name(layer, part)] = (_FLOAT, ("B", heads, "C", size))
                gives[present_name(layer, part)] = (_FLOAT, ("B", heads, "C + S", size))
    matrices = _INT8 if lora == "int8" else _FLOAT
    inputs: dict[str, _Value] = {}
    for slot in () if lora == "none" else manifest.slots:
        rank = f"r.{slot.name}"
        inputs[lora_a_name(slot.name)] = (matrices, (slot.d_in, rank))
        inputs[lora_scale_name(slot.name)] = (_FLOAT, (rank,))
        inputs[lora_b_name(slot.name)] = (matrices, (rank, slot.d_out))
    read = [_values(session.get_inputs()) for session in (encoder, decoder)]
    for found, wanted in (
        # a slot's inputs are the encoder's or the decoder's
        (_without(read[0], inputs), {INPUT_IDS: (_IDS, ("B", "T")), **mask}),
        (_without(read[1], inputs), reads | cross),
        (_values(encoder.get_outputs()), cross),
        (_values(decoder.get_outputs()), gives),
        ({name: value for values in read for name, value in values.items() if name in inputs}, inputs),
    ):
        strange = [name for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
        if strange and strange[0] in inputs and strange[0] in found:
            raise BundleError(f"{folder}: its graphs do not take LoRA in {lora}; export the bundle again")
        if strange:
            raise _differ(folder, strange[0])


def _values(nodes: Iterable[ort.NodeArg]) -> dict[str, _Value]:
    return {node.name: (node.type, tuple(node.shape)) for node in nodes}


def _without(values: Mapping[str, _Value], names: Collection[str]) -> dict[str, _Value]:
    return {name: value for name, value in values.items() if name not in names}


def _differ(folder: Path, what: str) -> BundleError:
    return BundleError(f"{folder}: its graphs and its manifest differ ({what:.200}); export the bundle again")
