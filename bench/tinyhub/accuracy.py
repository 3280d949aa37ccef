"""Exact-match accuracy by greedy decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .padding import encode

_LONGEST_ANSWER = 14


def accuracy(model: Any, pairs: Sequence[tuple[str, str]]) -> float:
    """The share (0-100) of the inputs whose greedily decoded answer equals the expected one."""
    ids = encode([source for source, _ in pairs], 0)
    wanted = encode([target for _, target in pairs], 0)
    with torch.inference_mode():
        got = model.generate(
            input_ids=ids,
            attention_mask=(ids != 0).long(),
            max_new_tokens=_LONGEST_ANSWER,
            do_sample=False,
            num_beams=1,
        )[:, 1:]  # without the start token
    width = max(got.shape[1], wanted.shape[1])
    got, wanted = (torch.nn.functional.pad(ids, (0, width - ids.shape[1])) for ids in (got, wanted))
    return 100.0 * int((got == wanted).all(dim=1).sum()) / len(pairs)
