"""Whether the graphs of a decoder-only model read and give what its manifest says."""

from __future__ import annotations

from pathlib import Path

from ...bundle.decoder_only import ENDS, LAST, PLACES, POSITIONS, ROWS, SCORED, SCORED_PLACES, SCORED_ROWS, TOTAL
from ...bundle.graph_check import differ
from ...bundle.graphs import INPUT_IDS, LOGITS, PARTS, Graph, past_name, present_name
from ...bundle.manifest import Manifest
from ..architecture import Sessions
from ..signature import FLOAT, INT32, INT64, Value, compare_values, lora_values, values

_SCORE: dict[str, Value] = {
    INPUT_IDS: (INT64, ("N",)),
    POSITIONS: (INT64, ("N",)),
    ROWS: (INT64, ("B", "T")),
    PLACES: (INT64, ("N",)),
    SCORED: (INT64, ("M",)),
    SCORED_ROWS: (INT64, ("B", "L")),
    SCORED_PLACES: (INT64, ("M",)),
}
_GENERATE: dict[str, Value] = {
    INPUT_IDS: (INT64, ("B", "S")),
    ENDS: (INT32, ("B",)),
    TOTAL: (INT32, ()),
    LAST: (INT64, ("B",)),
}


def check_signature(folder: Path, manifest: Manifest, graph: Graph, sessions: Sessions) -> None:
    """Compares what a graph reads and gives, by name, type and shape, with the manifest. Raises BundleError."""
    model = manifest.model
    if len(sessions) != 1 or graph.short or model.start_token_id is not None or not model.longest_text:
        raise differ(folder, "a decoder-only model has one graph a role, no start token, and a longest text")
    reads = _SCORE
    gives: dict[str, Value] = {LOGITS: (FLOAT, ("M", model.vocab_size))}
    if graph.role == "generate":
        cache: Value = (FLOAT, ("B", model.kv_heads, "C", model.head_size))
        caches = [(layer, part) for layer in range(model.layers) for part in PARTS]
        reads = _GENERATE | {past_name(*one): cache for one in caches}
        gives = {present_name(*one): cache for one in caches}
        gives[LOGITS] = (FLOAT, ("B", model.vocab_size))
    lora = lora_values(manifest, graph)
    pairs = (
        (values(sessions[0].get_inputs()), reads | lora),
        (values(sessions[0].get_outputs()), gives),
    )
    compare_values(folder, graph, lora, pairs)
