"""The independent check of an export: logits against transformers on the same checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_lorahub.bundle.graphs import Graph
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import CheckpointError
from edge_lorahub.hub.resolve import checkpoint_folder
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.opened import EncodedTask
from edge_lorahub.runtime.session import Model, load
from edge_lorahub.tensors.safetensors_file import Float32

from . import oracle

_LENGTHS = (40, 25, 7)
_ANSWER = 12
_ONE_BATCH = 4096  # tokens, more than all of them
# The largest difference that passes, by precision, relative to the largest logit. float32 of two libraries differs by
# 1e-6 or so; eight bits move logits by some hundredths, and a wrong head or scale by 1 and more.
BOUNDS = {"fp32": 1e-4, "int8": 0.5}


def verify_bundle(source: str | Path, bundle: Path, revision: str | None = None) -> float:
    """The largest difference of the logits, relative to the largest logit, on random ids in a padded batch.

    Of all graphs that score with LoRA in float32 or without. Raises CheckpointError where it
    exceeds BOUNDS or is not a number, and MissingDependencyError.
    """
    against = oracle.check_installed()
    model = load(bundle)
    manifest = model.manifest
    config = manifest.model
    rng = np.random.default_rng(0)
    most = config.longest_input or max(_LENGTHS)
    rows = [rng.integers(3, config.vocab_size, min(length, most)) for length in _LENGTHS]
    labels = rng.integers(3, config.vocab_size, (len(rows), min(_ANSWER, config.longest_output or _ANSWER)))
    expected = oracle.logits(
        checkpoint_folder(source, revision), *model.tokens.pad(rows), labels, config.start_token_id or 0
    )
    task = EncodedTask(rows, list(labels))
    differences = [
        _difference(model, graph, task, expected)
        for graph in manifest.graphs
        if graph.role == "score" and graph.lora_type != "int8"
    ]
    difference = float(np.max(differences))  # NaN if one is, which Python's max may leave out
    bound = BOUNDS[manifest.precision]
    if not difference <= bound:
        raise CheckpointError(
            f"{source}: the logits of the export differ from those of {against} by {difference:.1e} of the largest "
            f"(at most {bound:g} passes in {manifest.precision}), so there is no bundle; please report it, with the "
            "checkpoint's config.json"
        )
    return difference


def _difference(model: Model, graph: Graph, task: EncodedTask, expected: Float32) -> float:
    """expected (B, S, V): the logits of all labels, example by example."""
    inputs = plain_inputs(model.manifest.slots, graph.lora_type)
    runner = Runner(model, graph.role, inputs, short=graph.short)
    largest = 0.0
    batches = model.architecture.batches(model.tokens, task, range(len(expected)), _ONE_BATCH)
    for batch, scoring in zip(batches, model.architecture.scorings(runner, batches), strict=True):
        for member, logits in zip(batch.members, scoring.run(), strict=True):
            largest = float(np.max([largest, np.abs(logits - expected[member]).max()]))  # NaN stays NaN
    return largest / float(np.abs(expected).max())
