"""The independent check of an export: logits against transformers on the same checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_lorahub.contract import TOKENIZER, read_manifest
from edge_lorahub.errors import MissingDependencyError
from edge_lorahub.hub import checkpoint_folder
from edge_lorahub.runs import Runner, Scoring
from edge_lorahub.session import Model, load
from edge_lorahub.stack import plain_inputs
from edge_lorahub.tensors import Float32
from edge_lorahub.tokens import Ids, Tokens

_LENGTHS = (40, 25, 7)
_ANSWER = 12


def check_verifiable() -> None:
    """Raises MissingDependencyError where the comparison cannot be made."""
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"--verify needs {error.name}: pip install 'edge-lorahub[optimum]'") from error


def verify_bundle(source: str | Path, bundle: Path, revision: str | None = None) -> float:
    """The largest difference of the logits, relative to the largest logit, on random ids in a padded batch.

    Of the graphs with LoRA inputs, of those without, and of the absorbed ones.
    """
    check_verifiable()
    import torch
    from transformers import AutoModelForSeq2SeqLM

    config = read_manifest(bundle).model
    rng = np.random.default_rng(0)
    rows = [rng.integers(3, config.vocab_size, length) for length in _LENGTHS]
    ids, mask = Tokens(bundle / TOKENIZER, config).pad(rows)
    labels = rng.integers(3, config.vocab_size, (len(rows), _ANSWER))
    oracle = AutoModelForSeq2SeqLM.from_pretrained(checkpoint_folder(source, revision)).float().eval()
    with torch.no_grad():
        expected = oracle(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), labels=torch.tensor(labels)
        ).logits.numpy()
    del oracle
    return max(_difference(load(bundle, lora=lora, absorbed=absorbed), ids, mask, labels, expected)
               for lora, absorbed in (("float32", False), ("none", False), ("float32", True)))  # fmt: skip


def _difference(model: Model, ids: Ids, mask: Ids, labels: Ids, expected: Float32) -> float:
    scoring = Scoring(Runner(model, plain_inputs(model.manifest.slots, model.lora)), ids, mask, labels)
    scoring.run()
    return float(np.abs(scoring.logits - expected).max() / np.abs(expected).max())
