"""A LoRA module on disk: a PEFT folder of adapter_config.json and the matrices."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EdgeLorahubWarning, MissingPathError, ModuleFileError
from ..files.reading import open_file
from ..tensors.safetensors_file import Float32, open_tensors
from ..tensors.safetensors_writing import write_safetensors
from ..tensors.torch_zip import read_state_dict
from .base_names import public_name
from .module import Module
from .pair import Lora, identity
from .peft_config import CONFIG, LayerSettings, read_lora_config
from .peft_keys import pairs_of

SAFETENSORS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"


def read_peft(folder: Path, name: str) -> Module:
    """As `load_module`, of a PEFT folder."""
    config = read_lora_config(folder)
    file = next((folder / f for f in (SAFETENSORS, PICKLED) if (folder / f).exists()), None)
    if file is None:
        raise MissingPathError(f"{folder}: neither {SAFETENSORS} nor {PICKLED} is there; is the module complete?")
    with _open(file) as tensors:
        pairs = pairs_of(file, tensors.names)
        layers = config.of_layers(pairs)
        shapes = _shapes(file, tensors, pairs, layers)
        scales = {layer: settings.scale for layer, settings in layers.items()}
        digest = identity(_read(file, tensors, pairs, scales))
    # last: with bias 'all' there may be a tensor that is refused
    for what, fields in (
        ("unknown settings are ignored", config.unknown_fields),
        ("settings that change nothing in a LoRA", config.idle_fields),
    ):
        if fields:
            warnings.warn(f"{config.path}: {what}: {', '.join(fields)}", EdgeLorahubWarning, stacklevel=3)
    reader = partial(_read_file, file, scales)
    return Module(name, folder, file, config.base_model, config.task_type, digest, shapes, scales, reader)


def _read_file(file: Path, scales: Mapping[str, float]) -> Iterator[tuple[str, Lora]]:
    with _open(file) as tensors:
        yield from _read(file, tensors, pairs_of(file, tensors.names), scales)


def _shapes(
    file: Path, tensors: Any, pairs: Mapping[str, Mapping[str, str]], layers: Mapping[str, LayerSettings]
) -> dict[str, tuple[int, int, int]]:
    shapes = {}
    for layer, pair in pairs.items():
        if not layers[layer].targeted:
            raise ModuleFileError(
                f"{file}: tensor {pair['A']} is there, but {CONFIG} does not target that layer (target_modules, "
                "exclude_modules, layers_to_transform), so no version of peft reads it; mend the settings"
            )
        a, b = tensors.shape(pair["A"]), tensors.shape(pair["B"])
        rank = layers[layer].rank
        for key, shape, axis in ((pair["A"], a, 0), (pair["B"], b, 1)):
            if 0 in shape:
                raise ModuleFileError(
                    f"{file}: tensor {key} is empty, shape {shape}; DeepSpeed ZeRO-3 leaves such where the parameters "
                    "were not gathered before saving"
                )
            if len(shape) != 2 or shape[axis] != rank:
                raise ModuleFileError(
                    f"{file}: tensor {key} has shape {shape}, but {CONFIG} says rank {rank} (dimension {axis} of two)"
                )
        shapes[layer] = (rank, a[1], b[0])
    return shapes


def _read(
    file: Path, tensors: Any, pairs: Mapping[str, Mapping[str, str]], scales: Mapping[str, float]
) -> Iterator[tuple[str, Lora]]:
    for layer, pair in pairs.items():
        with np.errstate(over="ignore"):  # of float64, refused below
            lora = Lora(tensors.read(pair["A"]), tensors.read(pair["B"]), scales[layer])
        lora.check(*(f"{file}: tensor {pair[side]}" for side in "AB"))
        yield layer, lora


class _StateDict:
    """A state dict in memory, with the reading half of TensorFile."""

    def __init__(self, tensors: dict[str, Float32]) -> None:
        self._tensors = tensors
        self.names = list(tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def read(self, name: str) -> Float32:
        return self._tensors[name]


@contextmanager
def _open(file: Path) -> Iterator[Any]:
    open_file(file, ModuleFileError).close()
    if file.name == PICKLED:
        yield _StateDict(read_state_dict(file))
    else:
        with open_tensors(file, ModuleFileError) as tensors:
            yield tensors


def write_peft(folder: Path, base_model: str, loras: Mapping[str, Lora], task_type: str | None) -> None:
    """Writes a PEFT folder that `peft.PeftModel.from_pretrained` loads, in every peft from 0.6 on.

    The scale of each pair goes into its B, so that lora_alpha = r everywhere. Of a base model that is a path the last
    part is written. task_type is one of `bundle.architectures.TASK_TYPES`, None: not known.
    """
    tensors: dict[str, Float32] = {}
    for layer, lora in loras.items():
        tensors[f"base_model.model.{layer}.lora_A.weight"] = np.ascontiguousarray(lora.a)
        tensors[f"base_model.model.{layer}.lora_B.weight"] = np.ascontiguousarray(lora.scaled_b())
    ranks = {layer: lora.a.shape[0] for layer, lora in loras.items()}
    rank = max(ranks.values())
    # peft takes these for regular expressions since 0.15, and before then looked for the name itself as well: so the
    # dots, which match themselves, are not escaped
    pattern = {layer: r for layer, r in ranks.items() if r != rank}
    # what is false or empty is left out: an older peft refuses a field that it does not know, whatever its value
    settings = {
        "peft_type": "LORA",
        "task_type": task_type,
        "base_model_name_or_path": public_name(base_model),
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "target_modules": sorted(loras),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "init_lora_weights": True,
    }
    (folder / CONFIG).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    write_safetensors(folder / SAFETENSORS, tensors, {"format": "pt"})
