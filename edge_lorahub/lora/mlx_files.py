"""An adapter of mlx_lm: a folder of adapters.safetensors and an adapter_config.json of its own fields.

The rules are mlx_lm's (0.32: `tuner/lora.py`, `tuner/utils.py`): y = x W^T + scale (x lora_a) lora_b, of lora_a
(d_in, r) and lora_b (r, d_out), with one rank and one scale for all layers. Layers are called as in transformers.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EdgeLorahubWarning, MissingPathError, ModuleFileError
from ..files.outputs import read_json
from ..tensors.safetensors_file import TensorFile, open_tensors
from .module import Module
from .pair import Lora, identity
from .peft_config import CONFIG
from .peft_keys import LONGEST_NAME, MOST_TENSORS

ADAPTERS = "adapters.safetensors"
# mlx_lm has no other kind of models.
_TASK_TYPE = "CAUSAL_LM"
_KEY = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[ab])")
_BLOCK = re.compile(r"(?:^|\.)layers\.(\d{1,9})\.(.+)")
_LARGEST_RANK = 1 << 31
# What is read here, and what has no influence on a finished adapter: the options of `mlx_lm.lora`.
_KNOWN = frozenset((
    "fine_tune_type", "num_layers", "lora_layers", "lora_parameters", "model", "use_dora",
    "train", "test", "data", "optimizer", "optimizer_config", "mask_prompt", "batch_size", "iters", "val_batches",
    "learning_rate", "steps_per_report", "steps_per_eval", "grad_accumulation_steps", "resume_adapter_file",
    "adapter_path", "adapter_file", "save_every", "test_batches", "max_seq_length", "config", "grad_checkpoint",
    "clear_cache_threshold", "report_to", "project_name", "wandb", "seed", "lr_schedule", "hf_dataset",
    "prompt_feature", "completion_feature", "trust_remote_code",
))  # fmt: skip
_KNOWN_PARAMETERS = frozenset(("rank", "scale", "dropout", "keys"))


@dataclass(frozen=True)
class _Settings:
    """What decides what an adapter computes. keys: layers' names within a block or in full; None: any."""

    path: Path
    base_model: str
    rank: int
    scale: float
    blocks: int
    keys: frozenset[str] | None
    unknown: tuple[str, ...]


def is_mlx(folder: Path) -> bool:
    """Whether a folder with an adapter_config.json is an adapter of mlx_lm, by its fields. Raises ModuleFileError."""
    fields = read_json(folder / CONFIG, ModuleFileError)
    if "peft_type" in fields:
        return False
    return "lora_parameters" in fields or "fine_tune_type" in fields or (folder / ADAPTERS).exists()


def read_mlx(folder: Path, name: str) -> Module:
    """As `load_module`, of mlx_lm's adapter."""
    settings = _settings(folder / CONFIG)
    file = folder / ADAPTERS
    if not file.exists():
        older = "; adapters.npz is of an older mlx_lm, save it again" if (folder / "adapters.npz").exists() else ""
        raise MissingPathError(f"{folder}: no {ADAPTERS} in it, which adapters of mlx_lm have{older}")
    with open_tensors(file, ModuleFileError) as tensors:
        pairs = _pairs(file, tensors.names)
        shapes = _shapes(file, tensors, pairs, settings)
        digest = identity(_read_pairs(file, tensors, pairs, settings.scale))
    if settings.unknown:
        warnings.warn(
            f"{settings.path}: unknown settings are ignored: {', '.join(settings.unknown)}",
            EdgeLorahubWarning,
            stacklevel=3,
        )
    return Module(
        name, folder, file, settings.base_model, _TASK_TYPE, digest, shapes,
        dict.fromkeys(shapes, settings.scale), partial(_read, file, settings.scale),
    )  # fmt: skip


def _settings(path: Path) -> _Settings:
    fields = read_json(path, ModuleFileError)
    kind = fields.get("fine_tune_type", "lora")
    if kind != "lora" or fields.get("use_dora"):
        what = {"dora": "DoRA", "full": "whole matrices, no LoRA"}.get("dora" if fields.get("use_dora") else str(kind))
        raise ModuleFileError(
            f"{path}: fine_tune_type {kind!r:.80} is not supported{f' ({what})' if what else ''}; train with "
            "--fine-tune-type lora"
        )
    parameters = fields.get("lora_parameters")
    if not isinstance(parameters, dict):
        raise ModuleFileError(f"{path}: lora_parameters must have rank and scale, got {parameters!r:.80}")
    if "alpha" in parameters:
        # scale * alpha / rank before mlx_lm 0.20, and nothing after
        raise ModuleFileError(
            f"{path}: lora_parameters has alpha, which older versions of mlx_lm multiply with and newer ones ignore; "
            "write the factor that it was trained with as scale, and remove alpha"
        )
    if strange := sorted(map(str, parameters.keys() - _KNOWN_PARAMETERS)):
        raise ModuleFileError(f"{path}: lora_parameters has {strange[0]!r:.80}, which is not supported")
    base = fields.get("model") or ""
    if not isinstance(base, str):
        raise ModuleFileError(f"{path}: model must be a name, got {base!r:.80}")
    return _Settings(
        path=path,
        base_model=base,
        rank=_whole(parameters.get("rank"), "lora_parameters.rank", path, 1),
        scale=_number(parameters.get("scale"), path),
        blocks=_whole(fields.get("num_layers", fields.get("lora_layers", -1)), "num_layers", path, -1),
        keys=_keys(parameters.get("keys"), path),
        unknown=tuple(key for key, value in fields.items() if value and key not in _KNOWN),
    )


def _whole(value: object, what: str, path: Path, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST_RANK:
        raise ModuleFileError(f"{path}: {what} must be a whole number of at least {least}, got {value!r:.80}")
    return value


def _number(value: object, path: Path) -> float:
    right = not isinstance(value, bool) and isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
    if not right:
        raise ModuleFileError(f"{path}: lora_parameters.scale must be a number, got {value!r:.80}")
    return float(value)  # type: ignore[arg-type]


def _keys(value: object, path: Path) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise ModuleFileError(f"{path}: lora_parameters.keys must be a list of layers' names, got {value!r:.80}")
    return frozenset(value)


def _pairs(file: Path, names: list[str]) -> dict[str, dict[str, str]]:
    """The tensors' names by linear layer and side: {layer: {"a": name, "b": name}}."""
    if len(names) > MOST_TENSORS:
        raise ModuleFileError(f"{file}: {len(names)} tensors; a LoRA module has two for each linear layer")
    pairs: dict[str, dict[str, str]] = {}
    for name in names:
        match = _KEY.fullmatch(name)
        if match is None or len(name) > LONGEST_NAME:
            what = "DoRA's magnitude" if name.endswith(".m") else "not the lora_a or lora_b of a linear layer"
            raise ModuleFileError(f"{file}: tensor {name:.200} is not supported: {what}")
        pairs.setdefault(match["layer"], {})[match["side"]] = name
    if not pairs:
        raise ModuleFileError(f"{file}: no tensors in it")
    for layer, pair in pairs.items():
        if len(pair) == 1:
            raise ModuleFileError(f"{file}: {layer} has lora_{next(iter(pair))} only; is the file complete?")
        if "embed" in layer.rpartition(".")[2]:
            raise ModuleFileError(f"{file}: {layer} is an embedding, of which no LoRA is supported")
    return pairs


def _shapes(
    file: Path, tensors: TensorFile, pairs: Mapping[str, Mapping[str, str]], settings: _Settings
) -> dict[str, tuple[int, int, int]]:
    _check_layers(file, pairs, settings)
    shapes = {}
    for layer, pair in pairs.items():
        a, b = tensors.shape(pair["a"]), tensors.shape(pair["b"])
        for name, shape, axis in ((pair["a"], a, 1), (pair["b"], b, 0)):
            if len(shape) != 2 or 0 in shape or shape[axis] != settings.rank:
                of_experts = "; experts' layers have three dimensions, and are not supported" if len(shape) == 3 else ""
                raise ModuleFileError(
                    f"{file}: tensor {name} has shape {shape}, but {CONFIG} says rank {settings.rank} (dimension "
                    f"{axis} of two){of_experts}"
                )
        shapes[layer] = (settings.rank, a[0], b[1])
    return shapes


def _check_layers(file: Path, layers: Mapping[str, object], settings: _Settings) -> None:
    """Refuses tensors of layers that the settings leave out, which mlx_lm does not load."""
    blocks = set()
    for layer in layers:
        inner = _BLOCK.search(layer)
        within = inner[2] if inner else layer
        if settings.keys is not None and not {within, layer} & settings.keys:
            raise ModuleFileError(
                f"{file}: there are tensors of {layer}, but {CONFIG} does not name that layer (lora_parameters.keys); "
                "mend the settings"
            )
        if inner and (settings.keys is None or layer not in settings.keys):
            blocks.add(int(inner[1]))
    # it is of the model's last blocks, and -1 or 0 means all
    if blocks and 0 < settings.blocks < max(blocks) - min(blocks) + 1:
        raise ModuleFileError(
            f"{file}: tensors of blocks {min(blocks)} to {max(blocks)}, but {CONFIG} says num_layers "
            f"{settings.blocks}; mend the settings"
        )


def _read(file: Path, scale: float) -> Iterator[tuple[str, Lora]]:
    with open_tensors(file, ModuleFileError) as tensors:
        yield from _read_pairs(file, tensors, _pairs(file, tensors.names), scale)


def _read_pairs(
    file: Path, tensors: Any, pairs: Mapping[str, Mapping[str, str]], scale: float
) -> Iterator[tuple[str, Lora]]:
    for layer, pair in pairs.items():
        a, b = (np.ascontiguousarray(tensors.read(pair[side]).T) for side in "ab")
        lora = Lora(a, b, scale)
        lora.check(*(f"{file}: tensor {pair[side]}" for side in "ab"))
        yield layer, lora
