"""The losses of examples, once: what several test files compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_lorahub import Example
from edge_lorahub.runtime.binding import Runner
from edge_lorahub.runtime.encoder_decoder.batches import Batch
from edge_lorahub.runtime.encoder_decoder.teacher_forcing import TeacherForcing
from edge_lorahub.runtime.scoring import Batches, Losses, Scorer


def score(runner: Runner, examples: Sequence[Example], max_input_tokens: int, max_output_tokens: int) -> Losses:
    """With what the runner's LoRA inputs hold."""
    task = runner.model.bundle.encode(examples, max_input_tokens, max_output_tokens)
    return Scorer(runner, Batches(runner.model.bundle, task)).losses()


def forced(runner: Runner, ids: np.ndarray, mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The logits float32 (B, S, V) of labels (B, S) for a padded batch of sources (B, T), by teacher forcing."""
    scoring = TeacherForcing(runner, Batch(list(range(len(ids))), ids, mask, list(labels)))
    scoring.run()
    return scoring.logits
