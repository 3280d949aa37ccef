"""`--optimizer reference` against the released LoraHub algorithm, on torch + peft + nevergrad.

The loop below does what `lorahub_learning` of sail-sg/lorahub does (lorahub/algorithm.py, commit 2bc1c5a),
written anew: state dicts composed key by key, set into a peft model, one batch of all examples, its loss
divided by the number of examples, nevergrad's NGOpt.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import nevergrad as ng
from oracle import Batch, oracle_modules, oracle_result, random_batch
from peft import PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from searches import minimize

from edge_lorahub import Modules, Settings, adapt, load
from edge_lorahub.export import export
from edge_lorahub.testing.random_models import SIZES, write_checkpoint, write_module

pytestmark = pytest.mark.oracle

BUDGET = 40
MODULES = 20
SEED = 42


def score_with(model: PeftModel, folders: list[Path], batch: Batch) -> Callable[[np.ndarray], float]:
    """The released code's get_score: the loss of a candidate, with its regularization."""
    states = [load_file(folder / "adapter_model.safetensors") for folder in folders]

    def score(weights: np.ndarray) -> float:
        composed = {key: sum(w * state[key] for w, state in zip(weights, states, strict=True)) for key in states[0]}
        set_peft_model_state_dict(model, composed, folders[0].name)
        loss = oracle_result(model, batch).loss / len(batch.examples)
        return loss + 0.05 * sum(abs(w) for w in weights) / len(weights)

    return score


# std, that of B, is such that the modules move the loss visibly, and not so much that float noise does too
@pytest.mark.parametrize(("size", "std"), [("tiny", 0.02), ("tiny-t5", 0.04), ("flan-t5-small", 0.01)])
def test_the_same_candidates_and_losses(size: str, std: float, tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / size, size)
    export(checkpoint, tmp_path / "bundle")
    folders = [write_module(tmp_path / f"m{i}", size, seed=i, rank=4, alpha=8, std=std) for i in range(MODULES)]
    batch = random_batch(SIZES[size]["vocab_size"])

    score = score_with(oracle_modules(checkpoint, folders[:1]), folders, batch)
    candidates, losses = [], []

    def objective(weights: np.ndarray) -> float:
        candidates.append(weights.copy())
        losses.append(score(weights))
        return losses[-1]

    space = ng.p.Array(init=[0] * MODULES, upper=[1.5] * MODULES, lower=[-1.5] * MODULES)
    space.random_state.seed(SEED)
    recommended = ng.optimizers.NGOpt(parametrization=space, budget=BUDGET).minimize(objective).value

    settings = Settings(optimizer="reference", budget=BUDGET, seed=SEED)
    # the search alone, told the very same losses: the same candidates, bit for bit
    told = iter(losses)
    replayed = minimize(lambda population: np.array([next(told) for _ in population]), MODULES, settings)
    np.testing.assert_array_equal([c.weights for c in replayed.trace], candidates)
    np.testing.assert_array_equal(replayed.weights, recommended)

    # the whole of it: losses differ by float noise, which Cobyla amplifies once it has its first simplex
    ours = adapt(load(tmp_path / "bundle", threads=2), Modules.load(folders), batch.examples, settings)
    drifts = np.abs(np.array([c.weights for c in ours.trace]) - candidates).max(axis=1)
    drift = drifts.max()
    error = np.abs(np.array([c.loss for c in ours.trace]) - losses).max()
    final = np.abs(np.array(list(ours.weights.values())) - recommended).max()
    print(f"[measured] candidates {drift:.1e}, losses {error:.1e}, recommendation {final:.1e}")
    assert len(ours.trace) == len(candidates) == BUDGET
    assert np.ptp(losses) > 0.01, "the search must have something to find"
    assert not drifts[: MODULES + 1].any(), "the first simplex depends on the order of the losses alone"
    assert drift <= 1e-4
    assert error <= 1e-4
    assert final <= 1e-4
