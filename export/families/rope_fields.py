"""Rotary positions in config.json, as transformers 4 and 5 spell them.

transformers 4 has `rope_theta` and `rope_scaling`, transformers 5 `rope_parameters` with all of it, by kind of layer
where a model has several.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_lorahub.errors import CheckpointError

from ..blocks.rotary import Llama3Scaling, Rope
from ..source.json_fields import whole
from .config_fields import ConfigFields, positive

SLIDING, FULL = "sliding_attention", "full_attention"
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
# By rope_type, what else its parameters may have.
_KNOWN: Mapping[str, tuple[str, ...]] = {"default": (), "linear": ("factor",), "llama3": _LLAMA3}
_COMMON = ("rope_type", "type", "rope_theta", "partial_rotary_factor")


def read_rope(fields: ConfigFields, head_size: int, theta: float = 10000.0) -> Rope:
    """The one kind of rotary positions of a model. theta: where config.json does not say."""
    path = fields.path
    theta_4, scaling = fields.value("rope_theta"), _table(fields, "rope_scaling")
    parameters = _table(fields, "rope_parameters")
    fields.refuse("partial_rotary_factor", "all numbers of a head are turned in this family", (1, 1.0))
    if parameters is not None and any(isinstance(value, dict) for value in parameters.values()):
        raise CheckpointError(f"{path}: rope_parameters by kind of layer are not supported for this model_type")
    merged = _merged(parameters, theta_4, scaling, path)
    return _rope(merged, head_size, theta, path)


def read_ropes_by_kind(
    fields: ConfigFields, head_size: int, theta: float = 1e6, local_theta: float = 1e4
) -> dict[str, Rope]:
    """Rotary positions by kind of layer, as Gemma 3 has them: `rope_local_base_freq` for windowed layers."""
    path = fields.path
    theta_4, scaling = fields.value("rope_theta"), _table(fields, "rope_scaling")
    local = fields.value("rope_local_base_freq")
    parameters = _table(fields, "rope_parameters")
    if parameters is None:
        of_full = _merged(None, theta_4, scaling, path)
        of_sliding = {} if local is None else {"rope_theta": local}
    else:
        if set(parameters) != {SLIDING, FULL} or not all(isinstance(one, dict) for one in parameters.values()):
            raise CheckpointError(
                f"{path}: rope_parameters must have {SLIDING} and {FULL}, got {', '.join(map(str, parameters)):.80}"
            )
        of_full = _merged(parameters[FULL], theta_4, scaling, path)
        of_sliding = _merged(parameters[SLIDING], local, None, path)
    return {
        FULL: _rope(of_full, head_size, theta, path),
        SLIDING: _rope(of_sliding, head_size, local_theta, path),
    }


def _table(fields: ConfigFields, key: str) -> dict[str, Any] | None:
    value = fields.value(key)
    if value is not None and not isinstance(value, dict):
        raise CheckpointError(f"{fields.path}: {key} must be an object, got {value!r:.80}")
    return value or None


def _merged(
    parameters: Mapping[str, Any] | None, theta: Any, scaling: Mapping[str, Any] | None, path: Path
) -> dict[str, Any]:
    """Both spellings as transformers 5 spells them; where a file has both, they must agree."""
    older = dict(scaling or {})
    if theta is not None:
        older.setdefault("rope_theta", theta)
    if parameters is None:
        return older
    for key, value in older.items():
        if key in parameters and parameters[key] != value:
            raise CheckpointError(
                f"{path}: {key} is {parameters[key]!r:.40} in rope_parameters, and {value!r:.40} in rope_theta or "
                "rope_scaling; leave one of them in it"
            )
    return {**older, **parameters}


def _rope(parameters: Mapping[str, Any], head_size: int, theta: float, path: Path) -> Rope:
    kind = _kind(parameters, path)
    known = (*_COMMON, *_KNOWN[kind])
    for key, value in parameters.items():
        if key not in known and value is not None:
            raise CheckpointError(f"{path}: {key} {value!r:.40} is not supported with the rope_type {kind!r}")
    if parameters.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise CheckpointError(
            f"{path}: partial_rotary_factor {parameters['partial_rotary_factor']!r:.40} is not supported for this "
            "model_type"
        )
    value = parameters.get("rope_theta")
    found = positive(theta if value is None else value, "rope_theta", path)
    if kind == "default":
        return Rope(found, head_size)
    factor, *rest = (positive(parameters.get(key), f"{key} of {kind}", path) for key in _KNOWN[kind])
    if kind == "linear":
        return Rope(found, head_size, factor)
    low, high, _ = rest
    if high <= low:
        raise CheckpointError(f"{path}: high_freq_factor, {high:g}, must be larger than low_freq_factor, {low:g}")
    return Rope(found, head_size, llama3=Llama3Scaling(factor, low, high, whole(parameters, _LLAMA3[-1], path)))


def _kind(parameters: Mapping[str, Any], path: Path) -> str:
    """rope_type, which was called type once; transformers 4.4x wrote both."""
    said = [parameters[key] for key in ("rope_type", "type") if parameters.get(key) is not None]
    kind = said[0] if said else "default"
    if any(other != kind for other in said):
        raise CheckpointError(f"{path}: rope_type and type differ: {said[0]!r:.40} and {said[1]!r:.40}")
    if not isinstance(kind, str) or kind not in _KNOWN:
        raise CheckpointError(f"{path}: the rope_type {kind!r:.40} is not supported, only {', '.join(_KNOWN)}")
    return kind
