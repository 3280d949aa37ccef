"""Whether a bundle's manifest describes its graphs and weights, looked at before ONNX Runtime gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import BundleError
from .graph_file import TYPES, Weight, check_overlap, read_graph
from .manifest import EMBEDDING, EMBEDDING_ROWS, WEIGHTS, Manifest


def check_graph_files(folder: Path, manifest: Manifest, graphs: Sequence[str]) -> None:
    """Checks graphs by their files, and what the manifest says of their weights.

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
            raise differ(folder, f"slot {slot.name}")
    rows = weights.get(EMBEDDING) or weights.get(EMBEDDING_ROWS)
    if rows is None or rows.shape[:1] != (manifest.model.vocab_size,):
        raise differ(folder, "vocab_size")


def differ(folder: Path, what: str) -> BundleError:
    return BundleError(f"{folder}: its graphs and its manifest differ ({what:.200}); export the bundle again")
