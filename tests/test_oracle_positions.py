"""The relative position buckets against transformers' T5Attention."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers.models.mt5.modeling_mt5 import MT5Attention
from transformers.models.t5.modeling_t5 import T5Attention

from edge_lorahub.export.positions import relative_buckets

pytestmark = pytest.mark.oracle

DISTANCES = np.arange(-300, 301)


@pytest.mark.parametrize("attention", [T5Attention, MT5Attention])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("buckets", "farthest"),
    [(32, 128), (32, 64), (32, 100), (32, 256), (16, 128), (8, 16), (64, 256), (128, 512), (12, 77), (34, 129)],
)
def test_every_distance(attention: type[torch.nn.Module], bidirectional: bool, buckets: int, farthest: int) -> None:
    truth = attention._relative_position_bucket(
        torch.as_tensor(DISTANCES), bidirectional=bidirectional, num_buckets=buckets, max_distance=farthest
    )
    ours = relative_buckets(DISTANCES, bidirectional=bidirectional, buckets=buckets, max_distance=farthest)
    np.testing.assert_array_equal(ours, truth.numpy())
