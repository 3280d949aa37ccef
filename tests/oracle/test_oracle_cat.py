"""Exact composition is what peft's add_weighted_adapter calls "cat"; the documentation says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from oracle import lora_layers, oracle_modules

from edge_lorahub import Modules
from edge_lorahub.composition.pairs import compose_pairs
from edge_lorahub.testing.random_models import write_module

pytestmark = pytest.mark.oracle

WEIGHTS = np.array([0.9, -1.3, 0.6])


def test_exact_composition_is_pefts_cat(checkpoint: Path, tmp_path: Path) -> None:
    folders = [
        write_module(tmp_path / f"module-{i}", "tiny", seed=i, rank=rank, alpha=alpha, std=0.1)
        for i, (rank, alpha) in enumerate([(4, 8), (2, 3), (8, 8)])
    ]
    model = oracle_modules(checkpoint, folders)
    model.add_weighted_adapter([folder.name for folder in folders], WEIGHTS.tolist(), "all", combination_type="cat")
    pairs = compose_pairs(list(Modules.load(folders)), WEIGHTS, "exact")
    layers = {name: layer for name, layer in lora_layers(model).items() if "all" in layer.lora_A}
    assert layers.keys() == pairs.keys()
    for name, layer in layers.items():
        theirs = layer.get_delta_weight("all").detach().numpy()
        np.testing.assert_allclose(pairs[name].b @ pairs[name].a, theirs, atol=1e-6)
        assert np.abs(theirs).max() > 0.01
