"""The independent check of an export: logits against transformers on the same checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_lorahub.bundle.graphs import Graph
from edge_lorahub.bundle.manifest import ModelConfig
from edge_lorahub.composition.adapter import Adapter
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import CheckpointError
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.opened import EncodedTask
from edge_lorahub.runtime.session import Model, load
from edge_lorahub.tensors.safetensors_file import Float32

from ..open_source import open_source
from . import oracle

_LENGTHS = (40, 25, 7)
_ANSWER = 12
_ONE_BATCH = 4096  # tokens, more than all of them
# The largest difference that passes, by precision, relative to the largest logit. float32 of two libraries differs by
# 1e-6 or so; eight bits move logits by some hundredths, and a wrong head or scale by 1 and more.
BOUNDS = {"fp32": 1e-4, "int8": 0.5}


def verify_bundle(
    source: str | Path, bundle: Path, revision: str | None = None, adapter: Adapter | None = None
) -> float:
    """The largest difference of the logits, relative to the largest logit, on random ids in one batch.

    adapter: that was added to the weights, and is added to transformers' too. Of all graphs with LoRA in float32 or
    without. Raises CheckpointError where it exceeds BOUNDS or is not a number, and MissingDependencyError.
    """
    against = oracle.check_installed()
    model = load(bundle)
    manifest = model.manifest
    task = _random_task(manifest.model)
    expected = oracle.logits(open_source(source, revision), task, manifest.model.start_token_id, adapter)
    # the files of one variant may serve both roles
    graphs = {graph.files: graph for graph in reversed(manifest.graphs) if graph.lora_type != "int8"}
    differences = [_difference(model, graph, task, expected) for graph in graphs.values()]
    difference = float(np.max(differences))  # NaN if one is, which Python's max may leave out
    bound = BOUNDS[manifest.precision]
    if not difference <= bound:
        raise CheckpointError(
            f"{source}: the logits of the export differ from those of {against} by {difference:.1e} of the largest "
            f"(at most {bound:g} passes in {manifest.precision}), so there is no bundle; please report it, with the "
            "checkpoint's config.json"
        )
    return difference


def _random_task(config: ModelConfig) -> EncodedTask:
    """Random ids, without those that end an answer."""
    rng = np.random.default_rng(0)
    known = np.setdiff1d(np.arange(min(3, config.vocab_size - 1), config.vocab_size), config.end_token_ids)
    answer = min(_ANSWER, config.longest_output or _ANSWER)
    most = min(config.longest_input or max(_LENGTHS), (config.longest_text or _ONE_BATCH) - answer)
    rows = [rng.choice(known, min(length, most)) for length in _LENGTHS]
    return EncodedTask(rows, list(rng.choice(known, (len(rows), answer))))


def _difference(model: Model, graph: Graph, task: EncodedTask, expected: Sequence[Float32]) -> float:
    """expected: of each text, the logits (S, V) of all labels."""
    inputs = plain_inputs(model.manifest.slots, graph.lora_type)
    runner = Runner(model, graph.role, inputs, short=graph.short)
    found = _scored(runner, task) if graph.role == "score" else _generated(runner, task)
    differences = [np.abs(one - other).max() for one, other in zip(found, expected, strict=True)]
    return float(np.max(differences)) / max(float(np.abs(one).max()) for one in expected)  # NaN stays NaN


def _scored(runner: Runner, task: EncodedTask) -> list[Float32]:
    model = runner.model
    batches = model.architecture.batches(model.tokens, task, range(len(task.sources)), _ONE_BATCH)
    found: dict[int, Float32] = {}
    for batch, scoring in zip(batches, model.architecture.scorings(runner, batches), strict=True):
        found |= {member: rows.copy() for member, rows in zip(batch.members, scoring.run(), strict=True)}
    return [found[member] for member in range(len(task.sources))]


def _generated(runner: Runner, task: EncodedTask) -> list[Float32]:
    """The same logits, token by token."""
    architecture = runner.model.architecture
    decoding = architecture.decoding(runner, task.sources, architecture.cache(runner.model.manifest))
    labels = np.array(task.labels)
    steps = [decoding.start().copy()]
    steps += [decoding.step(chosen).copy() for chosen in labels.T[:-1]]
    return list(np.stack(steps, axis=1))
