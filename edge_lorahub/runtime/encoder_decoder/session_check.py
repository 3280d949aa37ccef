"""Whether the graphs of an encoder-decoder read and give what its manifest says."""

from __future__ import annotations

from pathlib import Path

from ...bundle.encoder_decoder import ATTENTION_MASK, ENCODER_STATES, PAST_TOKENS, cross_name
from ...bundle.graph_check import differ
from ...bundle.graphs import INPUT_IDS, LOGITS, PARTS, Graph, past_name, present_name
from ...bundle.manifest import Manifest
from ..architecture import Sessions
from ..signature import FLOAT, INT64, Value, compare_values, lora_values, values, without


def check_sessions(folder: Path, manifest: Manifest, graph: Graph, sessions: Sessions) -> None:
    """Compares what the graphs read and give, by name, type and shape, with the manifest. Raises BundleError."""
    model = manifest.model
    if len(sessions) != 2 or model.start_token_id is None or model.kv_heads != model.heads:
        raise differ(folder, "an encoder-decoder has two graphs, a start token, and keys for every head")
    encoder, decoder = sessions
    mask: dict[str, Value] = {ATTENTION_MASK: (INT64, ("B", "T"))}
    reads = {INPUT_IDS: (INT64, ("B", "S")), **mask}
    gives: dict[str, Value] = {LOGITS: (FLOAT, ("B", "S", model.vocab_size))}
    cross: dict[str, Value] = {}
    if graph.short:
        width = next((tuple(o.shape)[-1] for o in encoder.get_outputs()), 0)
        cross[ENCODER_STATES] = (FLOAT, ("B", "T", width))
    else:
        reads[PAST_TOKENS] = (INT64, ())
        for layer in range(model.layers):
            for part in PARTS:
                heads, size = model.heads, model.head_size
                cross[cross_name(layer, part)] = (FLOAT, ("B", heads, "T", size))
                reads[past_name(layer, part)] = (FLOAT, ("B", heads, "C", size))
                gives[present_name(layer, part)] = (FLOAT, ("B", heads, "C + S", size))
    lora = lora_values(manifest, graph)
    read = [values(session.get_inputs()) for session in sessions]
    pairs = (
        # a slot's inputs are the encoder's or the decoder's
        (without(read[0], lora), {INPUT_IDS: (INT64, ("B", "T")), **mask}),
        (without(read[1], lora), reads | cross),
        (values(encoder.get_outputs()), cross),
        (values(decoder.get_outputs()), gives),
        ({name: value for found in read for name, value in found.items() if name in lora}, lora),
    )
    compare_values(folder, graph, lora, pairs)
