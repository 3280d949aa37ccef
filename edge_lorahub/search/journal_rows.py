"""An observation as a row of a journal, which JSON can hold: read back to the last bit."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from ..label_logits import LabelLogits
from .strategy import Float64, Observation


def row_of(observation: Observation) -> dict[str, Any]:
    row: dict[str, Any] = {"weights": observation.weights.tolist()}
    row["loss"] = observation.loss if np.isfinite(observation.loss) else None  # stopped early
    if observation.losses is not None:
        row["losses"] = [loss if np.isfinite(loss) else None for loss in observation.losses.tolist()]
    if observation.logits is not None:
        logits = observation.logits
        row["logits"] = [_packed(logits.tokens, "<i4"), _packed(logits.logits, "<f4"), _packed(logits.rest, "<f4")]
    return row


def observation_of(row: dict[str, Any]) -> Observation:
    losses = row.get("losses")
    logits = None
    if "logits" in row:
        tokens, values, rest = row["logits"]
        rest_array = np.frombuffer(base64.b64decode(rest), "<f4").astype(np.float32)
        shape = len(rest_array), -1
        logits = LabelLogits(
            np.frombuffer(base64.b64decode(tokens), "<i4").astype(np.int64).reshape(shape),
            np.frombuffer(base64.b64decode(values), "<f4").astype(np.float32).reshape(shape),
            rest_array,
        )
        if logits.tokens.shape != logits.logits.shape:
            raise ValueError("tokens and logits differ in number")
    return Observation(
        _floats(row["weights"]),
        np.inf if row["loss"] is None else float(row["loss"]),
        None if losses is None else _floats(losses),
        logits,
    )


def _floats(values: list[float | None]) -> Float64:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _packed(array: np.ndarray[Any, Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, kind).tobytes()).decode("ascii")
