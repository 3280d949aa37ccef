"""Whether the graphs of an encoder-decoder read and give what its manifest says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from ...bundle.encoder_decoder import (
    ATTENTION_MASK,
    ENCODER_STATES,
    INPUT_IDS,
    LOGITS,
    PARTS,
    PAST_TOKENS,
    cross_name,
    past_name,
    present_name,
)
from ...bundle.graph_check import differ
from ...bundle.graphs import Graph, lora_a_name, lora_b_name, lora_scale_name
from ...bundle.manifest import Manifest
from ...errors import BundleError
from ...machine.onnx_runtime import ort
from ..architecture import Sessions

# A value's type, as ONNX Runtime calls it, and its shape.
_Value = tuple[str, tuple[int | str, ...]]
_FLOAT, _IDS, _INT8 = "tensor(float)", "tensor(int64)", "tensor(int8)"


def check_sessions(folder: Path, manifest: Manifest, graph: Graph, sessions: Sessions) -> None:
    """Compares what the graphs read and give, by name, type and shape, with the manifest. Raises BundleError."""
    model = manifest.model
    if len(sessions) != 2 or model.start_token_id is None or model.kv_heads != model.heads:
        raise differ(folder, "an encoder-decoder has two graphs, a start token, and keys for every head")
    encoder, decoder = sessions
    mask: dict[str, _Value] = {ATTENTION_MASK: (_IDS, ("B", "T"))}
    reads = {INPUT_IDS: (_IDS, ("B", "S")), **mask}
    gives: dict[str, _Value] = {LOGITS: (_FLOAT, ("B", "S", model.vocab_size))}
    cross: dict[str, _Value] = {}
    if graph.short:
        width = next((tuple(o.shape)[-1] for o in encoder.get_outputs()), 0)
        cross[ENCODER_STATES] = (_FLOAT, ("B", "T", width))
    else:
        reads[PAST_TOKENS] = (_IDS, ())
        for layer in range(model.layers):
            for part in PARTS:
                heads, size = model.heads, model.head_size
                cross[cross_name(layer, part)] = (_FLOAT, ("B", heads, "T", size))
                reads[past_name(layer, part)] = (_FLOAT, ("B", heads, "C", size))
                gives[present_name(layer, part)] = (_FLOAT, ("B", heads, "C + S", size))
    matrices = _INT8 if graph.lora_type == "int8" else _FLOAT
    inputs: dict[str, _Value] = {}
    for slot in () if graph.lora_type == "none" else manifest.slots:
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
            raise BundleError(f"{folder}: its graphs do not take LoRA in {graph.lora_type}; export the bundle again")
        if strange:
            raise differ(folder, strange[0])


def _values(nodes: Iterable[ort.NodeArg]) -> dict[str, _Value]:
    return {node.name: (node.type, tuple(node.shape)) for node in nodes}


def _without(values: Mapping[str, _Value], names: Collection[str]) -> dict[str, _Value]:
    return {name: value for name, value in values.items() if name not in names}
