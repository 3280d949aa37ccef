"""Modules of the control: shapes and norms of the originals, and nothing else of them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_lorahub import Modules
from edge_lorahub.comparison.random_twins import random_twins


@pytest.mark.parametrize("products", [True, False])
def test_shapes_and_norms_are_the_modules(modules: Modules, *, products: bool) -> None:
    twins = random_twins(modules, 1, products=products)
    assert twins.names == modules.names
    for module, twin in zip(modules, twins, strict=True):
        assert twin.shapes == module.shapes
        assert twin.sha256 != module.sha256
        for (layer, lora), (same, other) in zip(module.loras(), twin.loras(), strict=True):
            assert layer == same
            assert np.linalg.norm(other.a) == pytest.approx(np.linalg.norm(lora.a), rel=1e-5)
            if products:
                wanted = np.linalg.norm(lora.scaled_b() @ lora.a)
                assert np.linalg.norm(other.scaled_b() @ other.a) == pytest.approx(wanted, rel=1e-5)
            else:
                assert np.linalg.norm(other.scaled_b()) == pytest.approx(np.linalg.norm(lora.scaled_b()), rel=1e-5)
            assert abs(np.vdot(other.a, lora.a)) < 0.5 * np.linalg.norm(other.a) * np.linalg.norm(lora.a)


def test_they_are_drawn_by_seed_and_name(modules: Modules) -> None:
    digests = [[twin.sha256 for twin in random_twins(modules, seed, products=True)] for seed in (1, 1, 2)]
    assert digests[0] == digests[1]
    assert not set(digests[0]) & set(digests[2])
    assert len(set(digests[0])) == len(modules)
