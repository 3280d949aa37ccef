"""The independent check of an export: logits against transformers on the same checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_lorahub.bundle.manifest import TOKENIZER, read_manifest
from edge_lorahub.composition.stack import plain_inputs
from edge_lorahub.errors import CheckpointError
from edge_lorahub.hub.resolve import checkpoint_folder
from edge_lorahub.runtime.binding import Runner, Scoring
from edge_lorahub.runtime.session import Model, load
from edge_lorahub.runtime.tokens import Ids, Tokens
from edge_lorahub.tensors.safetensors_file import Float32

from . import oracle

_LENGTHS = (40, 25, 7)
_ANSWER = 12
# The largest difference that passes, by precision, relative to the largest logit. float32 of two libraries differs by
# 1e-6 or so; eight bits move logits by some hundredths, and a wrong head or scale by 1 and more.
BOUNDS = {"fp32": 1e-4, "int8": 0.5}


def verify_bundle(source: str | Path, bundle: Path, revision: str | None = None) -> float:
    """The largest difference of the logits, relative to the largest logit, on random ids in a padded batch.

    Of the graphs with LoRA inputs, of those without, and of the absorbed ones. Raises CheckpointError where it
    exceeds BOUNDS or is not a number, and MissingDependencyError.
    """
    against = oracle.check_installed()
    manifest = read_manifest(bundle)
    config = manifest.model
    rng = np.random.default_rng(0)
    most = config.longest_input or max(_LENGTHS)
    rows = [rng.integers(3, config.vocab_size, min(length, most)) for length in _LENGTHS]
    ids, mask = Tokens(bundle / TOKENIZER, config).pad(rows)
    labels = rng.integers(3, config.vocab_size, (len(rows), min(_ANSWER, config.longest_output or _ANSWER)))
    expected = oracle.logits(checkpoint_folder(source, revision), ids, mask, labels, config.decoder_start_token_id)
    differences = [
        _difference(load(bundle, lora=lora, absorbed=absorbed), ids, mask, labels, expected)
        for lora, absorbed in (("float32", False), ("none", False), ("float32", True))
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


def _difference(model: Model, ids: Ids, mask: Ids, labels: Ids, expected: Float32) -> float:
    scoring = Scoring(Runner(model, plain_inputs(model.manifest.slots, model.lora)), ids, mask, labels)
    scoring.run()
    return float(np.abs(scoring.logits - expected).max() / np.abs(expected).max())
